"""The Kubeflow components, a folder a step: artifacts become paths, the step's one function runs, scores are logged.

Only the body of a component's function reaches the cluster, so its imports stand inside.
"""

from functools import partial

from kfp import dsl

from polydistill import __version__

IMAGE = f"polydistill:{__version__}"

# The image holds the library and kfp, so a component installs nothing when it runs.
component = partial(dsl.component, base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
