"""Packaging of ISER. Extraction has few requirements; those of training, tests and the demonstration are extras."""

from pathlib import Path

from setuptools import find_packages, setup


PACKAGES = [
    "modeling_iser",
    "datasets_scripts",
    "evaluate_iser",
    "baselines",
    "training_iser",
    "graph_iser",
    "serving_iser",
]
TRAIN = ["accelerate>=1.15", "datasets>=5.2,<6", "evaluate>=0.4.6", "pyyaml>=6", "scipy>=1.16", "tensorboard>=2.20"]

CORPUS = ["datasets>=5.2,<6", "scikit-learn>=1.9"]
FIGURES = ["matplotlib>=3.11", "mplfonts>=0.0.11"]
DOCUMENTS = ["beautifulsoup4>=4.14", "pypdf>=7", "python-docx>=1.2"]
GRAPH = ["gravis>=0.1,<0.2", "networkx>=3.6", "openpyxl>=3.1", "rdflib>=7.6"]
RAY = ["ray[data]>=2.60,<3"]
SERVE = ["fastapi>=0.165", "prometheus-client>=0.26", "uvicorn>=0.54"]
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.8,<10", "mkdocstrings[python]>=1.0"]
ONNX = ["onnx>=1.20", "onnxruntime>=1.24"]

setup(
    name="iser",
    version="0.1.0",
    description="Joint entity and relation extraction with spans and an interactive fusion representation",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    keywords=["relation extraction", "named entity recognition", "drug-drug interactions", "transformers", "Chinese"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Natural Language :: Chinese (Simplified)",
        "Natural Language :: English",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Text Processing :: Linguistic",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=find_packages(include=[f"{name}*" for name in PACKAGES]),
    package_data={
        "datasets_scripts.ch_ddi": ["*.md", "data/*", "raw/*", "annotations/*", "agreement/*"],
        "datasets_scripts.conll04": ["*.md"],
        "modeling_iser": ["default_model/*", "py.typed"],
        "baselines": ["py.typed"],
        "datasets_scripts": ["py.typed"],
        "graph_iser": ["names.csv", "page.*", "py.typed"],
        "serving_iser": ["py.typed"],
        "evaluate_iser": ["README.md", "requirements.txt"],
    },
    install_requires=[
        "torch>=2.9",
        "transformers>=5.23,<6",
        "huggingface-hub>=2.4,<3",
        "safetensors>=0.8",
        "pyarrow>=24",
    ],
    entry_points={
        "console_scripts": [
            "iser-extract = modeling_iser.command_line:main",
            "iser-graph = graph_iser.command_line:main",
            "iser-serve = serving_iser.command_line:main",
            "iser-train = training_iser.train:main",
        ]
    },
    extras_require={
        "train": TRAIN,
        "demo": TRAIN,
        "corpus": CORPUS,
        "figures": FIGURES,
        "documents": DOCUMENTS,
        "graph": GRAPH,
        "onnx": ONNX,
        "ray": RAY,
        "serve": SERVE,
        # The command reference is generated from the parsers of all commands.
        "docs": [*TRAIN, *CORPUS, *DOCS],
        "test": [
            *TRAIN,
            *CORPUS,
            *FIGURES,
            *DOCUMENTS,
            *GRAPH,
            *ONNX,
            *SERVE,
            "httpx>=0.28",
            "hypothesis>=6",
            "ipykernel>=7.4",
            "mypy>=2",
            "nbclient>=0.11",
            "playwright>=1.65",
            "pytest>=9",
            "pytest-xdist>=3.8",
            "reportlab>=5",
            "ruff>=0.17",
            "types-PyYAML>=6",
        ],
    },
)
