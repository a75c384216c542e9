"""The demo: fine-tune four siblings of a real transformer, merge them with taskvec, and score everything.

`python -m demo` from the root of the repository; `demo/README.md` says what it does and where the data come from.
"""

import os

# Set before transformers is imported: all the demo needs is installed, and it must not look anywhere else.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
