"""The OpenAPI document is true: whatever it allows or forbids, the service answers as it says there.

schemathesis makes the requests, such as the document allows and others; this process answers them. Its pictures and
videos are chosen from some: nobody finds a PNG by chance.
"""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.no_cover

schemathesis = pytest.importorskip("schemathesis")
from schemathesis import GenerationMode  # noqa: E402
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance  # noqa: E402

# what the document allows may still be no picture; the bytes of one are no string, so schemathesis thinks it forbidden
UNKNOWN = {
    GenerationMode.POSITIVE: [positive_data_acceptance, negative_data_rejection],
    GenerationMode.NEGATIVE: [positive_data_acceptance],
}

FEW = settings(
    max_examples=8,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def with_files(body, content):
    """The body with this content in the place of a file."""
    if not isinstance(body, dict):
        return body
    found = dict(body)
    for name in {"image", "video"} & body.keys():
        found[name] = content if isinstance(body[name], str | bytes) else body[name]
    if isinstance(body.get("images"), list):
        found["images"] = [content if isinstance(one, str | bytes) else one for one in body["images"]]
    return found


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("task", ["count", "segment", "localize"])
def test_every_answer_is_one_that_the_document_has(task, mode, client, pictures, street):
    service = client(task)
    document = schemathesis.openapi.from_asgi("/openapi.json", service.app)
    answered = {}
    for found in document.get_all_operations():
        operation = found.ok()
        if mode == GenerationMode.NEGATIVE and operation.method == "get":
            continue  # nothing can be wrong with them
        good = [street] if operation.path == "/video" else pictures
        bad = [b"", b"text", good[0][:100]] if mode == GenerationMode.POSITIVE else []

        @FEW
        @given(case=operation.as_strategy(generation_mode=mode), content=st.sampled_from([*good, *good, *bad]))
        def ask(case, content):
            case.body = with_files(case.body, content)
            response = case.call_and_validate(excluded_checks=UNKNOWN[mode])
            answered.setdefault(case.operation.label, set()).add(response.status_code)

        ask()
    for label, statuses in answered.items():
        if mode == GenerationMode.NEGATIVE:
            assert statuses <= {400, 422}, label
        else:
            assert 200 in statuses, label  # it was not all in vain
    assert len(answered) == (2 if mode == GenerationMode.NEGATIVE else 4) + (task == "segment")
