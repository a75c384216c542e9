"""`taskvec`, with the architecture of the convolutional check known: `python -m benchmarks.suite bench train …`."""

from taskvec.cli import main

from . import efficientnet  # noqa: F401  (registers its model type with transformers)

if __name__ == "__main__":
    main()
