"""The Kubeflow pipelines: the steps of `components`, and what depends on what."""
