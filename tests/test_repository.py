"""Files for GitHub and Docker: they parse, run what exists, and let nothing unpinned in."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(
    path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"
)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_jobs_have_few_rights(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", each) for each in used)
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        pages = path.stem == "docs"  # they are pushed to a branch
        few = {("contents", "read"), ("id-token", "write")} | (
            {("contents", "write")} if pages else set()
        )
        assert set(job["permissions"].items()) <= few
        assert job["timeout-minutes"] <= 90


def test_the_tested_versions_of_python_are_those_of_the_package() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))["jobs"]
    tested = jobs["newest"]["strategy"]["matrix"]["python"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">={tested[0]}"
    named = [
        each.rpartition(" ")[2]
        for each in project["classifiers"]
        if each.startswith("Programming Language")
    ]
    assert set(named) <= set(tested)


def test_the_oldest_pytorch_of_the_package_is_tested() -> None:
    steps = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))[
        "jobs"
    ]["oldest-torch"]
    tested = dict(
        re.findall(r"'(torch\w*)==([\d.]+)\.\*'", str([step.get("run") for step in steps["steps"]]))
    )
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    oldest = dict(re.findall(r"(torch\w*)>=([\d.]+),<", " ".join(extras["torch"])))
    assert oldest.keys() == {"torch", "torchvision", "torchaudio"}
    assert tested == oldest


def test_workflows_and_the_image_name_files_that_exist() -> None:
    texts = [path.read_text(encoding="utf-8") for path in [*WORKFLOWS, ROOT / "Dockerfile"]]
    named = {
        name
        for text in texts
        for name in re.findall(r"(?:tools|docs|\.ci)/[\w./-]+|requirements\.txt", text)
    } - {"docs/assets/example.mp4"}
    assert {"tools/installer.txt", ".ci/run", "requirements.txt"} <= named
    assert all((ROOT / name).exists() for name in named)


def test_the_image_does_not_run_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["ecmvae"]
    assert lines.index("USER ecmvae") < next(
        n for n, line in enumerate(lines) if line.startswith("ENTRYPOINT")
    )


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms_ask_for_something(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= form.keys()
    ids = [each["id"] for each in form["body"]]
    assert len(ids) == len(set(ids)) > 1
    assert any(each.get("validations", {}).get("required") for each in form["body"])
