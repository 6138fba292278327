"""Backbones, heads, and the classifier made of them."""

from plml.models.classifier import Classifier, build_model

__all__ = ["Classifier", "build_model"]
