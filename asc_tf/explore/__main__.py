"""python -m asc_tf.explore."""

import sys

from asc_tf.explore import main

sys.exit(main())
