"""Pictures of what trained models do: class maps of images, label graphs, curves of label correction."""
