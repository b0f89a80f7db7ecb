"""Export of a classifier with its head as one ONNX graph, for servers without this library."""

from .export import TOLERANCE, Export, export_onnx
from .quantization import QuantizationEffect

__all__ = ["TOLERANCE", "Export", "QuantizationEffect", "export_onnx"]
