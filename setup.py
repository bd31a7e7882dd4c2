"""The simulator's compiled loops; everything else about the package is in pyproject.toml."""

import platform

from setuptools import Extension, setup

# No contraction of a * b + c: the same samples on every processor. The compiler may assume that
# nobody looks at errno and floating-point traps, without which it vectorises.
FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
if platform.machine() in ("x86_64", "AMD64"):
    FLAGS += ["-Wno-psabi"]  # vectors are handed over between inlined functions only

HEADERS = ("loops", "delays", "recursions")

setup(
    ext_modules=[
        Extension(
            "megaasr.simulate.kernels._native",
            ["src/megaasr/simulate/kernels/native.c"],
            depends=[f"src/megaasr/simulate/kernels/{name}.h" for name in HEADERS],
            extra_compile_args=FLAGS,
            py_limited_api=True,
            optional=True,  # without a compiler, kernels/portable.py does the same in numpy
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
