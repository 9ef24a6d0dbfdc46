"""One trial of t2t-tune: t2t-trainer, in a process that ends when its parent process ends.

Both processes hold a pipe; its end of file means that the parent has ended. A run can be killed at any time, so the
child just exits.
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
