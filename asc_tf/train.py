"""The training binary: `python -m asc_tf.train` is `asc-tf train`."""

import sys

from asc_tf import cli

if __name__ == "__main__":
    sys.exit(cli.main(["train", *sys.argv[1:]]))
