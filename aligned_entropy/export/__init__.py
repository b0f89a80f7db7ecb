"""Export of a classifier with its head as one ONNX graph, for servers without this library."""

import os

from .export import TOLERANCE, Export, check_exportable_head, export_onnx
from .quantization import QuantizationEffect

# ONNX Runtime is imported when a graph is exported. Without this it then writes telemetry to the user's home folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["TOLERANCE", "Export", "QuantizationEffect", "check_exportable_head", "export_onnx"]
