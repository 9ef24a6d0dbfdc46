"""The package: one import package, `t2t_multimodel`, from four top-level folders."""

from setuptools import setup

COMMANDS = {
    "t2t-datagen": "datagen",
    "t2t-trainer": "trainer",
    "t2t-eval": "evaluate",
    "t2t-decoder": "decoder",
}

# The folders beside t2t_multimodel/ install inside it, so that nobody's own module called `hparams` is shadowed.
PACKAGE_DIR = {
    "t2t_multimodel": "t2t_multimodel",
    "t2t_multimodel.problems": "problems",
    "t2t_multimodel.problems.tiny8": "problems/tiny8",
    "t2t_multimodel.hparams": "hparams",
    "t2t_multimodel.data_gen": "data_gen",
    "t2t_multimodel.data_gen.readers": "data_gen/readers",
}
INNER = ("modalities", "model", "training", "decoding", "input", "cli")

setup(
    name="t2t-multimodel",
    version="0.1.0",
    description="One model learns many tasks at once: text, pictures, sound, trees; and a framework to add yours.",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[*PACKAGE_DIR, *(f"t2t_multimodel.{name}" for name in INNER)],
    package_dir=PACKAGE_DIR,
    package_data={"t2t_multimodel.hparams": ["*.gin"]},
    install_requires=[
        "absl-py>=2.1",
        "gin-config>=0.5",
        "importlib_resources>=6",  # tensorflow-datasets needs it and does not say so
        "jiwer>=4.0,<5",
        "keras>=3.13.2,<4",  # older ones load unsafe files (CVE-2026-1462)
        "matplotlib>=3.8",
        "nltk>=3.9",
        "numpy>=1.26",
        "pillow>=10",
        "sacrebleu>=2.4,<3",
        "safetensors>=0.4",
        "sentencepiece>=0.2,<0.3",
        "soundfile>=0.12",
        "soxr>=0.5",
        "tensorboard>=2.18",
        "tensorflow>=2.18,<2.22",
        "tensorflow-datasets>=4.9.7,<4.10",
        "tensorflow-text>=2.18,<2.22",
        "tqdm>=4.66",
    ],
    extras_require={
        "jax": ["jax>=0.5"],
        "test": ["hypothesis>=6.100", "jax>=0.5", "pytest>=8", "pytest-timeout>=2.3", "ruff>=0.9"],
    },
    entry_points={
        "console_scripts": [f"{name} = t2t_multimodel.cli.{module}:main" for name, module in COMMANDS.items()]
    },
)
