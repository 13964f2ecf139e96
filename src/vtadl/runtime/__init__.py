"""Score images with an exported detector, without torch: ONNX Runtime, NumPy and Pillow are all it needs.

detector = vtadl.runtime.load("runs/transistor/onnx")
prediction = detector.predict("part.png")  # .score, .anomaly_map, .verdict, .p_value, .regions
"""

from vtadl.decision.decide import Prediction
from vtadl.runtime.detector import ExportedDetector, load

__all__ = ["ExportedDetector", "Prediction", "load"]
