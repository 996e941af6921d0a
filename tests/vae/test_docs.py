"""The guide's code runs from top to bottom; every file and test that the tables name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "vae.md").read_text()
TABLE = (ROOT / "tests" / "vae" / "lectures.md").read_text()
BOTH = GUIDE + TABLE


TESTS = {
    test
    for path in (ROOT / "tests").rglob("test_*.py")
    for test in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
}


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`((?:multimodal/)?test_\w+\.py)(?:::\w+\*?)?`", BOTH)))
)
def test_every_named_test_file_exists(name):
    assert (ROOT / "tests" / "vae" / name).is_file()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"(?:::|`)(test_\w+\*?)`", BOTH))))
def test_every_named_test_exists(name):
    assert name in TESTS or (
        name.endswith("*") and any(test.startswith(name[:-1]) for test in TESTS)
    )


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w/]+\.(?:py|yaml))", BOTH)) - {""}))
def test_every_named_file_exists(name):
    places = (ROOT / "ecmvae" / "vae", ROOT / "tests" / "vae", ROOT)
    assert any((place / name).is_file() for place in places)


def test_the_guides_code_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
    assert len(blocks) >= 9
    session = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"docs/vae.md, block {number + 1}", "exec"), session)
    told = capsys.readouterr().out
    assert "torch.Size([297]) torch.Size([297])" in told
    assert float(re.search(r"label from image: (\S+)", told)[1]) > 0.5
    assert float(re.search(r"AUROC (\S+)", told)[1]) > 0.9


@pytest.mark.parametrize("topic", re.findall(r"^## (.*)", GUIDE, re.M)[:9])
def test_every_topic_has_code_a_picture_and_an_exercise(topic):
    text = GUIDE.split(f"## {topic}\n")[1].split("\n## ")[0]
    assert "**What.**" in text
    assert "**Exercise.**" in text
    assert "```python" in text
    assert re.search(r"!\[.+\]\(gallery/\w+\.png\)", text)
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len([line for line in code.splitlines() if line.strip() and "import" not in line]) <= 10
