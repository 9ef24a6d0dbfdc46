"""The package: one import package, `t2t_multimodel`, from four top-level folders."""

from pathlib import Path

from setuptools import find_packages, setup

COMMANDS = {
    "t2t-datagen": "datagen",
    "t2t-trainer": "trainer",
    "t2t-eval": "evaluate",
    "t2t-decoder": "decoder",
    "t2t-server": "server",
    "t2t-query": "query",
    "t2t-exporter": "exporter",
    "t2t-bleu": "bleu",
    "t2t-doctor": "doctor",
    "t2t-inspect": "inspect_data",
    "t2t-new-problem": "new_problem",
    "t2t-avg-all": "average",
    "t2t-build-vocab": "build_vocab",
    "t2t-experiment": "experiment",
    "t2t-report": "report",
    "t2t-tune": "tune",
}

# The folders beside t2t_multimodel/ install inside it, so that nobody's own module called `hparams` is shadowed.
FOLDERS = {
    "t2t_multimodel": "t2t_multimodel",
    "t2t_multimodel.problems": "problems",
    "t2t_multimodel.hparams": "hparams",
    "t2t_multimodel.data_gen": "data_gen",
}
PACKAGES = [
    package
    for name, folder in FOLDERS.items()
    for package in (name, *(f"{name}.{inner}" for inner in find_packages(folder)))
]

setup(
    name="t2t-multimodel",
    version="0.1.0",
    description="One model learns many tasks at once: text, pictures, sound, trees; and a framework to add yours.",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",  # keras needs 3.11; tensorflow and tensorflow-text have no wheels for 3.14
    packages=PACKAGES,
    package_dir=FOLDERS,
    package_data={
        "t2t_multimodel": ["py.typed"],
        "t2t_multimodel.hparams": ["*.gin"],
        "t2t_multimodel.report": ["page.html", "page.css"],
        "t2t_multimodel.serving": ["page.html", "page.css", "page.js", "explanation.js"],
    },
    # The lower ends are what the code needs, the upper ends what it was tried with; docs/installation.md has the table.
    install_requires=[
        "absl-py>=2.1,<3",
        "gin-config>=0.5,<0.6",
        "google-crc32c>=1.6,<2",  # the checksum of every record that is read
        "importlib_resources>=6",  # tensorflow-datasets needs it and does not say so
        "jinja2>=3.1,<4",
        "jiwer>=4.0,<5",
        "keras>=3.13.2,<4",  # older ones load unsafe files (CVE-2026-1462)
        "matplotlib>=3.8,<4",
        "nltk>=3.9,<4",
        "numpy>=1.26,<3",
        "protobuf>=4.22",  # records are parsed with it; tensorflow and tensorboard need it too
        "packaging>=23",
        "pillow>=10",
        "sacrebleu>=2.4,<3",
        "safetensors>=0.4,<1",
        "scipy>=1.15,<2",
        "sentencepiece>=0.2,<0.3",
        "soundfile>=0.12,<1",
        "soxr>=0.5,<2",
        "tensorboard>=2.18,<2.22",
        "tensorflow>=2.18,<2.22",
        "tensorflow-datasets>=4.9.7,<4.10",
        "tensorflow-text>=2.18,<2.22",  # none for Windows and Intel Macs
        "tqdm>=4.66,<5",
    ],
    extras_require={
        "beam": ["apache-beam>=2.72,<2.78"],  # with -c constraints-beam.txt, which says why
        "hub": ["huggingface_hub>=1,<3"],  # the card of t2t-exporter --format=hub is read with it in a test
        "jax": ["jax>=0.5,<0.13"],  # tested with 0.10; 0.11 and 0.12, for Python 3.12 on, install but are untested
        "onnx": ["onnx>=1.16,<2", "onnxruntime>=1.18,<2", "tf2onnx>=1.16,<2"],  # t2t-exporter --format=onnx
        "tables": ["pyarrow>=15"],  # Parquet, Arrow, and files that end in .zst
        "serve": [  # t2t-server
            "httptools>=0.6",
            "prometheus-client>=0.20,<1",
            "starlette>=0.40,<2",
            "uvicorn>=0.30,<1",
            "uvloop>=0.19",
        ],
        "tune": ["optuna>=4.0,<5"],  # t2t-tune
        "wsj": ["av>=12,<19"],  # WSJ's recordings as its discs have them, compressed by shorten
        "test": [
            "PYEVALB>=0.1.3,<0.2",
            "av>=12,<19",
            "httptools>=0.6",
            "httpx>=0.27,<1",
            "hypothesis>=6.100",
            "jax>=0.5,<0.13",
            "mypy>=2.4,<2.5",  # a newer one, like a newer ruff, may find fault with what is here
            "optuna>=4.0,<5",
            "prometheus-client>=0.20,<1",
            "pyarrow>=15",
            "pytest>=8",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.8",
            "ruff>=0.17,<0.18",
            "setuptools>=77",
            "starlette>=0.40,<2",
            "uvicorn>=0.30,<1",
        ],
    },
    entry_points={
        "console_scripts": [f"{name} = t2t_multimodel.cli.{module}:main" for name, module in COMMANDS.items()]
    },
    classifiers=[
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
