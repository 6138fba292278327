"""The two forms of an exported model: how each is written, and how it is run again to be compared."""

import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plml.checkpoint import write_whole
from plml.errors import CheckpointError, ConfigError, PlmlError
from plml.export.description import KEY, as_text
from plml.export.network import Subject, exported_program
from plml.thresholds.calibration import Calibration

Run = Callable[[Tensor], tuple[Tensor, Tensor]]  # inputs to probabilities and logits
EXTRA = "pip install 'plml[export]'"
# What runtimes of the last years read; antialiased resizing came with 18.
OPSET = 18


@dataclass(frozen=True)
class Format:
    """A form of exported models.

    Attributes:
        suffix: of its files.
        needs: packages that write it.
        runs_with: package that runs it.
        write: program and description to a file.
        load: gives a function that runs a written file.
    """

    suffix: str
    needs: Sequence[str]
    runs_with: str
    write: Callable[[torch.export.ExportedProgram, dict[str, Any], Path], None]
    load: Callable[[Path], Run]

    def check(self, name: str, path: Path) -> None:
        """Raise ConfigError if a package is missing, or the file is named like something else."""
        missing = [package for package in self.needs if importlib.util.find_spec(package) is None]
        if missing:
            raise ConfigError(f"--format {name} needs {' and '.join(missing)}, not installed here: {EXTRA}")
        if path.suffix != self.suffix:
            raise ConfigError(f"--out must end in {self.suffix} with --format {name}, got '{path}'")

    @property
    def can_run(self) -> bool:
        """Whether what runs such files is installed."""
        return importlib.util.find_spec(self.runs_with) is not None


def _write_onnx(program: torch.export.ExportedProgram, description: dict[str, Any], path: Path) -> None:
    made = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=OPSET,
        input_names=[description["input"]["name"]],
        output_names=["probabilities", "logits"],
        verbose=False,
    )
    assert made is not None
    made.model.metadata_props[KEY] = as_text(description)
    model = made.model_proto
    model.doc_string = f"{description['method']} on {description['data']['name']}, by plml"
    _name_dimensions(model.graph, description)
    content = model.SerializeToString()
    write_whole(path, lambda file: file.write(content))


def _name_dimensions(graph: Any, description: dict[str, Any]) -> None:
    """Give the dimensions of inputs and outputs the names of the description, for the exporter's own."""
    del graph.value_info[:]  # shapes in between, which have the exporter's names too
    shapes = [description["input"]["shape"], *(one["shape"] for one in description["outputs"].values())]
    for value, shape in zip([*graph.input, *graph.output], shapes, strict=True):
        for dimension, name in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            if isinstance(name, str):
                dimension.dim_param = name


def _load_onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(inputs: Tensor) -> tuple[Tensor, Tensor]:
        probabilities, logits = session.run(["probabilities", "logits"], {name: inputs.numpy()})
        return torch.from_numpy(probabilities), torch.from_numpy(logits)

    return run


def _write_program(program: torch.export.ExportedProgram, description: dict[str, Any], path: Path) -> None:
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={f"{KEY}.json": as_text(description)})
    write_whole(path, lambda file: file.write(buffer.getbuffer()))


def _load_program(path: Path) -> Run:
    module = torch.export.load(str(path)).module()

    def run(inputs: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            probabilities, logits = module(inputs)
        return probabilities, logits

    return run


FORMATS = {
    "onnx": Format(".onnx", ("onnx", "onnxscript"), "onnxruntime", _write_onnx, _load_onnx),
    "torch-export": Format(".pt2", (), "torch", _write_program, _load_program),
}


def write_file(name: str, subject: Subject, scaling: Calibration, description: dict[str, Any], path: Path) -> None:
    """Write a checkpoint's network.

    Args:
        name: of the form.
        subject: the checkpoint.
        scaling: of the probabilities.
        description: what the file is to say of itself.
        path: the file.

    Raises:
        CheckpointError: the exporter does not manage this network; its own error is the cause.
    """
    network = f"backbone {description['backbone'] or 'none'} with head {description['head']}"
    with _told(f"--format {name}: {network} cannot be exported"):
        FORMATS[name].write(exported_program(subject, subject.network(scaling)), description, path)


def load_file(name: str, path: Path) -> Run:
    """Return what runs a written file; it and this raise CheckpointError if that cannot be done."""
    form = FORMATS[name]
    trouble = f"--format {name}: {form.runs_with} cannot run the file that was made"
    with _told(trouble):
        loaded = form.load(path)

    def run(inputs: Tensor) -> tuple[Tensor, Tensor]:
        with _told(trouble):
            return loaded(inputs)

    return run


@contextmanager
def _told(trouble: str) -> Iterator[None]:
    """Make one line of whatever an exporter or a runtime raises, and keep to itself what they print meanwhile."""
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")  # theirs about their own parts
            yield
    except (PlmlError, OSError, MemoryError):
        raise
    except Exception as error:
        first: BaseException = error
        while first.__cause__ is not None:  # what they raise themselves begins with general advice
            first = first.__cause__
        lines = str(first).strip().splitlines() or [""]
        raise CheckpointError(f"{trouble}: {type(first).__name__}: {lines[0]}") from error
