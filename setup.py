"""Puts configs and programs into wheels as ``mmav/.mim``, OpenMMLab's layout; the rest stands in setup.cfg.

OpenMMLab's ``setup.py`` files do so with links beside the sources. Here the copies are made in the build folder: a
checkout stays as it is, and an editable install finds the folders beside the package.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDERS = ('configs', 'tools', 'demo', 'benchmarks')
# pages belong to the documentation, and these programs to a checkout
LEFT_OUT = shutil.ignore_patterns('*.md', '*.png', '__pycache__', '*.pyc', '.*', 'docs', 'setup_env.py', 'work_dirs')


class BuildWithConfigs(build_py):
    """``build_py``, and the folders that an installed package brings along."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            mim = Path(self.build_lib, 'mmav', '.mim')
            shutil.rmtree(mim, ignore_errors=True)  # of an earlier build
            for name in FOLDERS:
                shutil.copytree(name, mim / name, ignore=LEFT_OUT)
            shutil.copy('model-index.yml', mim)  # the list of metafiles that OpenMMLab's mim reads


setup(cmdclass=dict(build_py=BuildWithConfigs))
