"The package's metadata, read from settings.ini, and its optional C library (tabtune/model/kernel.py says what it is for)."
import platform, sys
from configparser import ConfigParser
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

here = Path(__file__).parent
config = ConfigParser(delimiters=['='], interpolation=None)
config.read(here/'settings.ini', encoding='utf-8')
cfg = config['DEFAULT']
suffix = '_requirements'
extras = {k.removesuffix(suffix): v.split() for k, v in cfg.items() if k.endswith(suffix)}

csrc = 'tabtune/model/csrc'
kernel = Extension(
    'tabtune.model._kernel',
    sources=[f'{csrc}/kernel.c'],
    depends=[p.relative_to(here).as_posix() for p in sorted((here/csrc).glob('*.h'))],
    extra_compile_args=['-O3', '-fno-math-errno', '-fno-trapping-math', '-Wall', '-Wextra', '-g0'],  # for any processor: no -march
    extra_link_args=['-pthread', '-lm'],
    optional=True,
)

class BuildKernel(build_ext):
    "Builds a plain C library, loaded through ctypes. Where that fails the package is installed without it, and a line says so."
    def get_export_symbols(self, ext): return []  # no PyInit: Python never imports it
    def build_extension(self, ext):
        try: super().build_extension(ext)
        except Exception as e:  # whatever a compiler or its absence gives: the kernel is optional
            print(f'tabtune: the kernel was not built ({e}); training in bfloat16 runs in plain PyTorch', file=sys.stderr)

setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=(here/'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author=cfg['author'],
    license='Apache-2.0',
    keywords=cfg['keywords'].split(),
    python_requires=f">={cfg['min_python']}",
    package_dir={'': '.'},  # an editable install then puts the clone on the path, so the clone's own folder, seen from its parent, hides nothing
    packages=find_packages(include=['tabtune', 'tabtune.*']),
    package_data={'tabtune': ['weights/**', 'examples/**', 'widgets/assets/*']},
    install_requires=cfg['requirements'].split(),
    extras_require=extras,
    entry_points={
        'console_scripts': cfg['console_scripts'].split(),
        'nbdev': [f"{cfg['lib_name']}={cfg['lib_path']}._modidx:d"],
    },
    ext_modules=[kernel] if sys.platform == 'linux' and platform.machine() == 'x86_64' else [],
    cmdclass=dict(build_ext=BuildKernel),
    zip_safe=False,
)
