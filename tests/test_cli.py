import importlib
import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest

from ecmvae import cli
from ecmvae.arguments import parse
from ecmvae.config import Config
from ecmvae.errors import UserError


class OutOfMemoryError(RuntimeError):
    """As torch names what a GPU raises."""


HEAVY = (
    "torch",
    "lightning",
    "timm",
    "av",
    "cv2",
    "torchaudio",
    "gradio",
    "matplotlib",
    "ray",
    "pyarrow",
)


def functions() -> dict[str, object]:
    """Every command with its function, sub-commands too."""
    found = {}
    for name, (target, _) in cli.COMMANDS.items():
        module, _, attribute = target.partition(":")
        function = getattr(importlib.import_module(module), attribute)
        if isinstance(function, Mapping):
            found |= {f"{name} {key}": each for key, each in function.items()}
        else:
            found[name] = function
    return found


@pytest.fixture(autouse=True)
def _signals():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch):
    """Makes `ecmvae it ...` call a function of the test's."""

    def install(function) -> None:
        monkeypatch.setattr(cli, "COMMANDS", {"it": (f"{__name__}:_installed", "a test's")})
        monkeypatch.setitem(globals(), "_installed", function)

    return install


def test_every_command_teaches_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name, function in functions().items():
        with pytest.raises(SystemExit) as left:
            cli.main([*name.split(), "--help"])
        assert left.value.code == 0
        text = capsys.readouterr().out
        assert (function.__doc__ or "").strip().partition("\n")[0][:40] in text, name
        for parameter in inspect.signature(function).parameters:
            documented = f"    {parameter}: " in function.__doc__
            assert documented, f"{name}: the docstring says nothing about {parameter}"


def test_help_of_train_tells_every_knob(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--model.latent.dim DIM Width L of each latent. (type: int, default: 16)" in text
    assert "--data.horizontal_flip" in text


LIGHT = (
    [],
    ["--help"],
    ["--version"],
    *([*name.split(), "--help"] for name in functions()),
    ["models"],
    ["trian"],
    ["predict", "video.mp4", "--samplse", "3"],
    ["predict", "nowhere.mp4"],
    ["evaluate", "--checkpoint", "runs", "--data", "nowhere"],
    ["check-data", "nowhere"],
    ["train", "--config", "nowhere.yaml"],
    ["vae", "sample", "nowhere"],
)


def test_help_and_mistakes_are_answered_before_anything_heavy_is_imported() -> None:
    """One process answers them all: what one of them imports, the rest would have to wait for, too."""
    program = (
        f"import sys\nfrom ecmvae.cli import main\nfor words in {LIGHT!r}:\n"
        "    try: main(words)\n    except SystemExit: pass\n"
        f"    if found := [name for name in {HEAVY!r} if name in sys.modules]: sys.exit(f'{{words}}: {{found}}')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "nowhere.mp4 does not exist" in done.stderr


def test_options_become_arguments(command) -> None:
    got = {}

    def it(
        files: list[str],
        out: Path,
        size: int = 3,
        kind: Literal["a", "b"] = "a",
        rate: float | None = None,
    ) -> None:
        """Test.

        Args:
            files: Words.
            out: Where to.
            size: A number.
            kind: A choice.
            rate: Maybe.
        """
        got.update(locals())

    command(it)
    assert cli.main(["it", "x", "y", "z", "--size", "4", "--kind=b"]) == 0
    assert (got["files"], got["size"], got["kind"], got["rate"]) == (["x", "y"], 4, "b", None)
    assert got["out"] == Path("z")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a.mp4", "--force"], (["a.mp4"], True, False)),
        (["--force", "a.mp4", "--save-masks"], (["a.mp4"], True, True)),
        (["a.mp4", "--save_masks", "true", "--force=false"], (["a.mp4"], False, True)),
        (["a.mp4"], (["a.mp4"], False, False)),
    ],
)
def test_a_bare_switch_means_true(
    words: list[str], expected: tuple[list[str], bool, bool], command
) -> None:
    seen = []

    def it(sources: list[str], *, force: bool = False, save_masks: bool = False) -> None:
        """Do.

        Args:
            sources: Files.
            force: Overwrite.
            save_masks: Keep.
        """
        seen.append((sources, force, save_masks))

    command(it)
    assert cli.main(["it", *words]) == 0
    assert seen == [expected]


def test_help_speaks_as_people_type(command, capsys: pytest.CaptureFixture[str]) -> None:
    def it(
        out: Path = Path("here"),
        kind: Literal["a", "b"] = "a",
        name: str | None = None,
        size: int = 3,
        force: bool = False,
        sound: bool = True,
        clips: list[Path] | None = None,
    ) -> None:
        """Test.

        Args:
            out: Where to.
            kind: A choice.
            name: Maybe.
            size: A number.
            force: Overwrite.
            sound: Hear.
            clips: Some.
        """

    command(it)
    with pytest.raises(SystemExit):
        cli.main(["it", "--help"])
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    text = " ".join(lines)
    for line in (
        "--out OUT Where to. (type: path, default: here)",
        "--kind {a,b} A choice. (default: a)",
        "--name NAME Maybe. (type: str)",
        "--size SIZE A number. (type: int, default: 3)",
        "--force Overwrite.",
        "--sound {true,false} Hear. (default: True)",
        "Some. (type: [path, ...])",
    ):
        assert line in text
    assert "--force Overwrite." in lines  # nothing follows


def test_a_configuration_is_files_then_options(tmp_path: Path) -> None:
    def it(config: Config, name: str = "n") -> None:
        """Test."""

    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("model: {latent: {dim: 2, kind: single}}\ntrain: {epochs: 3}")
    two.write_text("train: {epochs: 4}")
    words = [
        "--config",
        str(one),
        f"--config={two}",
        "--model.latent.dim",
        "8",
        "--name",
        "m",
        "--loss.kl=1e-3",
    ]
    arguments = parse(it, "ecmvae it", words)
    config = arguments["config"]
    assert arguments["name"] == "m"
    assert (config.model.latent.dim, config.model.latent.kind, config.train.epochs) == (
        8,
        "single",
        4,
    )
    assert config.loss.kl == 1e-3


def test_a_resumed_run_keeps_its_settings(tmp_path: Path) -> None:
    from ecmvae.training.command import train

    (tmp_path / "config.yaml").write_text("train: {epochs: 3, seed: 5}")
    config = parse(train, "ecmvae train", ["--resume", str(tmp_path), "--train.epochs", "9"])[
        "config"
    ]
    assert (config.train.epochs, config.train.seed) == (9, 5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "unknown command 'trian': did you mean train?"),
        (["vae", "trian"], "unknown command 'trian': did you mean"),
        (["train", "--config", "nowhere.yaml"], "file not found: nowhere.yaml"),
        (
            ["train", "--resume", "none"],
            "nothing to resume in none: none/config.yaml does not exist",
        ),
        (
            ["vae", "train", "--out", "none", "--resume"],
            "nothing to resume in none: none/config.yaml does not exist",
        ),
        (
            ["train", "--model.latnt.dim", "3"],
            "unknown option --model.latnt.dim: did you mean --model.latent.dim?",
        ),
        (
            ["train", "--model.latent.dim", "many"],
            "--model.latent.dim takes a whole number, got 'many'",
        ),
        (
            ["train", "--train.max_minutes", "long"],
            "--train.max_minutes takes a number, got 'long'",
        ),
        (["train", "--model.latent.dim"], "argument --model.latent.dim: expected one argument"),
        (["train", "--model", "x.yaml"], "Unable to load config 'x.yaml'"),
        (["train", "--data.image_size", "100"], "data.image_size=100 must be a multiple of 32"),
        (["train", "--resmue", "x"], "unknown option --resmue: did you mean --resume?"),
        (["train-audio", "--name", "vgg"], "vggish_small"),
        (["predict"], "sources"),
        (
            ["predict", "x.mp4", "--style", "comic"],
            "one of 'contour', 'heatmap', 'spotlight', got 'comic'",
        ),
        (
            ["predict", "x.mp4", "--samples", "few"],
            "--samples takes a whole number, got 'few' (see ecmvae predict",
        ),
        (["predict", "x.mp4", "--smoothing", "nan"], "--smoothing takes a number, got 'nan'"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("ecmvae: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("bad\nfile"), 2, "ecmvae: error: bad file\n"),
        (
            OSError(28, "No space left on device"),
            1,
            "ecmvae: failed: [Errno 28] No space left on device\n",
        ),
        (
            OSError(36, "File name too long", "a\x1b[31m.mp4"),
            2,
            "ecmvae: error: 'a\\x1b[31m.mp4': File name too long: name another path\n",
        ),
        (FloatingPointError("the loss is NaN"), 1, "ecmvae: failed: the loss is NaN\n"),
        (
            OutOfMemoryError("GPU 0 is full. Tried 2 GiB."),
            1,
            "ecmvae: failed: GPU 0 is full: make the batch smaller\n",
        ),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            2,
            "ecmvae: error: this needs torch: pip install 'ecmvae[torch]'\n",
        ),
        (KeyboardInterrupt(), 130, "ecmvae: interrupted\n"),
    ],
)
def test_exit_codes(
    command, error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def it() -> None:
        """Fail."""
        raise error

    command(it)
    assert cli.main(["it"]) == code
    assert capsys.readouterr().err == line


def test_a_commands_own_exit_code_is_handed_on(command) -> None:
    def it() -> int:
        """Some of the files failed."""
        return 2

    command(it)
    assert cli.main(["it"]) == 2


def test_sigterm_exits_143(command) -> None:
    def it() -> None:
        """Wait to be killed."""
        signal.raise_signal(signal.SIGTERM)

    command(it)
    with pytest.raises(SystemExit) as left:
        cli.main(["it"])
    assert left.value.code == 143


def test_python_m_ecmvae_is_ecmvae() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ecmvae", "nonsense"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("ecmvae: error: unknown command 'nonsense'")


@pytest.mark.parametrize("words", [["--help"], ["configs", "list"]])
def test_a_reader_that_has_left_is_no_failure(words: list[str]) -> None:
    """As in `ecmvae configs list | head -1`: no message, and the exit code of a shell's SIGPIPE."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "ecmvae", *words], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_transformers_is_of_an_extra_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking() -> None:
        raise ModuleNotFoundError("No module named 'transformers'", name="transformers")

    monkeypatch.setattr(cli, "COMMANDS", {"train": (f"{__name__}:_installed", "a test's")})
    monkeypatch.setitem(globals(), "_installed", lacking)
    assert cli.main(["train"]) == 2
    assert "this needs transformers: pip install 'ecmvae[foundation]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--train.out", "FILE/runs"],
        ["train", "--train.name", "x" * 300],
        ["train-audio", "--data", "synthetic", "--out", "FILE"],
        ["vae", "train", "--out", "FILE"],
        ["demo", "--out", "x" * 300],
        ["evaluate", "--predictions", ".", "--data", ".", "--out", "FILE/report"],
        ["predict", "FILE", "--out", "x" * 260],
        ["predict", "x" * 300],
        ["export", "--out", "FILE/model.onnx"],
        ["vae", "sample", "x" * 300],
    ],
)
def test_b19_paths_that_cannot_be_are_refused_before_pytorch_is_imported(
    words: list[str], tmp_path: Path
) -> None:
    """Exit code 2 and one line; findings of the attacks on 7e93616, number 19."""
    (tmp_path / "file").touch()
    words = [word.replace("FILE", str(tmp_path / "file")) for word in words]
    code = f"""
import sys
sys.modules["torch"] = None  # importing it fails
from ecmvae.cli import main
sys.exit(main({words!r}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("ecmvae: error: ")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "words",
    [
        ["RUN", "a.jpg", "b.jpg", "--out", "o.png", "--force"],
        ["RUN", "--out", "o.png", "a.jpg", "--force", "b.jpg"],
        ["--force", "RUN", "--out=o.png", "a.jpg", "b.jpg"],
    ],
)
def test_words_that_are_left_may_stand_anywhere(words: list[str]) -> None:
    def it(run: str, pictures: tuple[str, ...] = (), out: str = "x", force: bool = False) -> None:
        """Test."""

    arguments = parse(it, "ecmvae it", words)
    assert arguments == {
        "run": "RUN",
        "pictures": ("a.jpg", "b.jpg"),
        "out": "o.png",
        "force": True,
    }
    assert parse(it, "ecmvae it", ["RUN"])["pictures"] == ()
