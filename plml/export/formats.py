"""The two forms of an exported model: how each is written, and how it is run again to be compared."""

import importlib.util
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plml.checkpoint import write_whole
from plml.errors import ConfigError
from plml.export.description import KEY, as_text

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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's about its own parts
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
