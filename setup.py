"""Packaging of hf_multitask; `constraints.txt` pins the set of versions that is tested together."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

DEEPSPEED = "deepspeed>=0.19,<0.20"
ONNX = ["onnxruntime>=1.23", "onnxscript>=0.7"]
SPACE = ["gradio>=6.31,<7"]
EXTRAS = {
    "test": [
        *ONNX,
        *SPACE,
        "selenium>=4.51",
        "pytest>=8",
        "pytest-xdist>=3",
        "ruff>=0.12",
        "mypy>=1.15",
        "types-PyYAML>=6",
        "matplotlib>=3.9",
        "optuna>=5,<6",
        # What DeepSpeed builds on the way to its first step wants Linux and a compiler.
        f"{DEEPSPEED}; sys_platform == 'linux'",
    ],
    "deepspeed": [DEEPSPEED],
    "tune": ["optuna>=5,<6", "filelock>=3"],
    "plots": ["matplotlib>=3.9"],
    "onnx": ONNX,
    "space": SPACE,
    "bench": ["smart-pytorch>=0.0.4,<0.1", "matplotlib>=3.9"],
}

setup(
    name="hf_multitask",
    version=re.search(r'__version__ = "(.+)"', (HERE / "hf_multitask" / "__init__.py").read_text())[1],
    description="Multitask fine-tuning of BERT-like encoders on the Hugging Face stack",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["hf_multitask", "hf_multitask.*"]), "hf_multitask.model_cards"],
    package_dir={"hf_multitask.model_cards": "model_cards"},
    package_data={"hf_multitask.model_cards": ["*.md"], "hf_multitask.pages": ["*.js"]},
    install_requires=[
        # Lower bounds are the tested versions where an API of theirs is used that is new in them.
        "torch>=2.6",
        "transformers>=5.23,<6",
        "datasets>=5.2,<6",
        "accelerate>=1.15,<2",
        "peft>=0.21,<1",
        "evaluate>=0.4.6,<1",
        "huggingface-hub>=2.4,<3",
        "sentence-transformers>=6.2,<7",
        "numpy>=1.26",
        "pyyaml>=6",
        "scikit-learn>=1.5",
        "scipy>=1.15",
        "torchjd>=0.18,<0.19",
    ],
    extras_require={**EXTRAS, "all": sorted({need for needs in EXTRAS.values() for need in needs})},
)
