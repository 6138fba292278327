"""Data sets, label settings applied to them, decoded images and stored features.

Each data set is one module beside this file; importing the package registers all of them.
"""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
