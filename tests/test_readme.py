"""Every command and every program of README.md runs.

How, and what is different from what a reader does, stands in `pages.py`; here `org/iocformer`, a name on the Hub, is a
small checkpoint of random weights. A block in another language, and a command that no rule knows, fail: nobody can add
one that is not tested.
"""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from pages import ROOT, RULES, as_parameters, blocks, commands, make_clone, released_checkpoint, run, run_pip

README = (ROOT / "README.md").read_text(encoding="utf-8")
STAND_INS = {"org/iocformer": "hub/iocformer"}
RUNNABLE = [block for block in blocks(README) if block.language in ("bash", "python")]


@pytest.fixture
def clone(tmp_path, monkeypatch, noise, counter_checkpoint) -> Path:
    """A folder that looks like a clone, and the current one."""
    make_clone(tmp_path, noise)
    shutil.copytree(counter_checkpoint, tmp_path / STAND_INS["org/iocformer"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_block_has_a_rule():
    for block in blocks(README):
        assert block.not_run is None
        assert block.language in ("bash", "python"), f"line {block.line}: no test runs {block.language or 'this'!r}"
        if block.language == "bash":
            for words in commands(block.text):
                assert words[0] in RULES, f"line {block.line}: no rule runs {shlex.join(words)}"


@pytest.mark.parametrize("block", as_parameters([b for b in RUNNABLE if b.language == "bash"]))
def test_commands(block, clone, capsys):
    if "convert" in block.text:
        released_checkpoint(clone / "model_best.pth")
    for words in commands(block.text):
        RULES[words[0]](words, clone)


@pytest.mark.parametrize("block", as_parameters([b for b in RUNNABLE if b.language == "python"]))
def test_programs(block, clone):
    """In a process that has imported nothing of ours, so that a program has all the imports that it needs."""
    text = block.text
    for name, folder in STAND_INS.items():
        text = text.replace(name, folder)
    run([sys.executable, "-c", text], clone)


def test_the_page_leads_somewhere():
    """Links, pictures and paths of this repository that the page names."""
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    links = set(re.findall(r"\]\(([^)#]+)\)", prose))
    relative = [link for link in sorted(links) if "://" not in link]
    assert relative == [], "dead where the page is shown elsewhere, by a package index"
    places = {
        re.sub(r"^https://(?:raw\.githubusercontent|github)\.com/dense-hf/dense_hf/(?:(?:blob|tree)/)?main/", "", x)
        for x in links
    }
    named = places | set(re.findall(r"`([\w.-]+/[\w./-]+)`", prose))
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", prose, re.M)
    }
    assert [anchor for anchor in re.findall(r"\]\(#([^)]+)\)", prose) if anchor not in anchors] == []
    assert [name for name in sorted(named) if "://" not in name and not (ROOT / name).exists()] == []


def test_it_is_a_front_page():
    """One table of results, made of files; all others are in docs/results.md."""
    assert len(README.splitlines()) <= 250
    assert len(re.findall(r"<!-- \w+:begin -->", README)) == 1


def test_make_targets_in_the_text_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)`", README)) <= targets


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```bash\nwget example.org\n```\n", "no rule"),
        ("```\nls\n```\n", "no test runs"),
        ("```console\n$ make test\n```\n", "no test runs"),
    ],
)
def test_what_nobody_can_run_is_found(text, message, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "README", text)
    with pytest.raises(AssertionError, match=message):
        test_every_block_has_a_rule()


@pytest.mark.parametrize("command", ["pip install .[gpu]", "pip install dense_hf", "pip download ."])
def test_installing_what_does_not_exist_is_found(command, tmp_path):
    with pytest.raises(AssertionError):
        run_pip(command.split(), tmp_path)
