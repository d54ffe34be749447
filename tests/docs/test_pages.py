"""Commands and programs of the how-tos and of the model cards: what can run here runs, of the rest the options exist.

All in this process, whose libraries are loaded already; those of README.md run in fresh ones. To add a page, put it
into a folder of `PAGES`. A command that needs a GPU, a camera or hours has a line `<!-- not run: reason -->` before
its block.
"""

import re
from pathlib import Path

import pytest
from pages import ROOT, RULES, blocks, call, check_command, commands, make_clone

HOWTOS = sorted(ROOT.glob("docs/howto/*.md"))
CARDS = [*sorted(ROOT.glob("model_cards/[!t]*.md")), *sorted(ROOT.glob("checkpoints/*/README.md"))]
PAGES = [*HOWTOS, *CARDS]
# in cards commands say how something was made
BLOCKS = {
    f"{path.relative_to(ROOT)}:{block.line}": block._replace(
        not_run=block.not_run or ("a card" if path in CARDS else None)
    )
    for path in PAGES
    for block in blocks(path.read_text(encoding="utf-8"))
}
COMMANDS = {name: block for name, block in BLOCKS.items() if block.language == "bash"}
PROGRAMS = {name: block for name, block in BLOCKS.items() if block.language == "python"}


@pytest.fixture
def clone(tmp_path, monkeypatch, noise) -> Path:
    """A folder that looks like a clone, and the current one."""
    monkeypatch.chdir(make_clone(tmp_path, noise))
    return tmp_path


def test_every_block_has_a_rule():
    for name, block in BLOCKS.items():
        assert block.language in ("bash", "python", "text", "yaml"), (
            f"{name}: no test runs {block.language or 'this'!r}"
        )
    for name, block in COMMANDS.items():
        for words in commands(block.text):
            assert words[0] in RULES, f"{name}: no rule runs {words[0]}"


@pytest.mark.parametrize("name", [name for name, block in COMMANDS.items() if block.not_run])
def test_options_of_commands_exist(name, tmp_path):
    for words in commands(COMMANDS[name].text):
        check_command(words, tmp_path)


@pytest.mark.parametrize("path", HOWTOS, ids=lambda path: path.stem)
def test_commands(path, clone, capsys):
    """Those of a page one after the other, as a reader does it."""
    for block in blocks(path.read_text(encoding="utf-8")):
        for words in commands(block.text) if block.language == "bash" and not block.not_run else []:
            if words[0] in ("dense-hf", "python"):
                assert call(*words[words[0] == "python" :]) == 0, capsys.readouterr()
            else:
                RULES[words[0]](words, clone)


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name, clone, capsys):
    block = PROGRAMS[name]
    code = compile(block.text, name, "exec")
    if block.not_run not in (None, "a card"):
        return  # its syntax is right
    exec(code, {"__name__": "__main__"})


@pytest.mark.parametrize("path", HOWTOS, ids=lambda path: path.stem)
def test_pages_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)#]+)\)", prose):
        assert "://" in link or (path.parent / link).exists(), link
    for named in re.findall(r"`((?:scripts|src|tests|docs|dataset_scripts)/[\w./-]+)`", prose):
        assert (ROOT / named).exists(), named


def test_every_how_to_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^howto/(\w+)$", index, flags=re.MULTILINE)) == {path.stem for path in HOWTOS}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("python scripts/evaluate_counting.py --modell x", "there is no --modell"),
        ("dense-hf count a.jpg --treshold 0.3", "there is no --treshold"),
        ("bash scripts/evaluate_counting.py", "no rule checks"),
        ("python scripts/train_cffm.py --config scripts/configs/cffm/none.yaml", "none.yaml"),
    ],
)
def test_a_wrong_command_is_found(command, message, tmp_path):
    with pytest.raises(AssertionError, match=message):
        check_command(command.split(), tmp_path)
