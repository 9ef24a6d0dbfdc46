"""One trial of t2t-tune: t2t-trainer, in a process that ends at once when the one that started it is gone.

The two hold a pipe: its end of file means that the parent is gone, killed maybe. A run may be killed at any moment, so
that is all there is to do.
"""

import os
import sys
import threading


def main(argv=None):
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from t2t_multimodel.cli import trainer

    return trainer.main(argv)


def _end_with_parent():
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
