"""Processes beside this one in which MNN converts a graph and computes with it.

MNN prints to standard output, holds Python's lock while it computes, and can crash on a graph that it does
not expect; in processes of its own none of that harms the program. Processes with a thread each are also
faster than threads of one, and where they can be forked from each other they share the network's weights
(EXPERIMENTS.md, 2026-12-01).

::

    python -m morphoscope.inference.engine.mnn_processes MEMORY convert GRAPH MODEL
    python -m morphoscope.inference.engine.mnn_processes MEMORY compute MODEL SIDE CHANNELS [IN:OUT ...]

MEMORY: bytes that the process may have, where the system can bound it; 0: any. The second reads pickled
images, (N, S, S, C), from standard input until that closes, which happens even if the parent is killed, and
answers with predictions and features, or with a sentence that says why not. For each pair of file
descriptors it forks, once the network is ready, a process that does the same through them.

MNN's own command ``mnnconvert`` is not used: it installs a package of its makers' into the environment and
reports each conversion to them (findings/mnn_convert_installs.sh). The function behind it does neither.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from morphoscope.errors import MorphoscopeError
from morphoscope.inference.engine.interface import INPUT
from morphoscope.processes import helper

TOGETHER = 8  # images of a pass: more are no faster and take more memory
_PATIENCE = 300.0  # seconds for a conversion; half of one for a ResNet-18
_FAREWELL = 2.0  # seconds that processes have to end by themselves
_FORKS = sys.platform == "linux"  # elsewhere a process cannot be forked, or not safely


def convert(graph: Path, model: Path, memory: int) -> str:
    """Convert an ONNX file in another process.

    Args:
        graph: the ONNX file.
        model: the file to write, in MNN's format.
        memory: bytes that the process may have; 0: any.

    Returns:
        Why it was not possible; empty if it was.
    """
    arguments = (str(memory), "convert", str(graph), str(model))
    with helper(__name__, *arguments, stderr=subprocess.STDOUT) as process:
        try:
            said, _ = process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            return f"it takes more than {_PATIENCE:g} seconds"
    if model.is_file() and not process.returncode:
        return ""
    last = [line for line in said.decode(errors="replace").splitlines() if line.strip()][-1:]
    return f"exit status {process.returncode}" + (f": {last[0].strip()[:200]}" if last else "")


_Channel = tuple[BinaryIO, BinaryIO]  # to a process, and from it


class Processes:
    """Processes that compute with a converted graph at the same time, a share of the images each.

    They begin to load it at once, and end with this object or with this process.

    Args:
        model: a file in MNN's format.
        side: S, pixels.
        channels: C.
        number: of processes, with a thread each.
        memory: bytes that each may have; 0: any.
    """

    def __init__(self, model: Path, side: int, channels: int, number: int, memory: int) -> None:
        self.number = number
        self.owner = os.getpid()  # a forked process must not talk to its parent's
        self.broken = False
        self._answered = False
        self._idle: queue.SimpleQueue[_Channel | None] = queue.SimpleQueue()
        arguments = (str(memory), "compute", str(model), str(side), str(channels))
        forked = number - 1 if _FORKS else 0
        with contextlib.ExitStack() as opened:
            try:
                for _ in range(1 if _FORKS else number):
                    self._start(opened, arguments, forked)
            except OSError as error:  # too many processes or open files
                raise MorphoscopeError(
                    f"no process can be started for MNN ({error.strerror}); use --engine onnx"
                ) from error
            self._opened = opened.pop_all()
        self._threads = ThreadPoolExecutor(number, thread_name_prefix="network")

    def _start(self, opened: contextlib.ExitStack, arguments: tuple[str, ...], forked: int) -> None:
        """Start a process that forks so many others.

        Raises:
            OSError: too many processes or open files.
        """
        questions, descriptors, pairs = [], [], []
        with contextlib.ExitStack() as theirs:  # which are closed here once the process has them
            for _ in range(forked):
                question, their_question = _pipe("wb", opened, theirs)
                answer, their_answer = _pipe("rb", opened, theirs)
                self._idle.put((question, answer))
                questions.append(question)
                descriptors += [their_question, their_answer]
                pairs.append(f"{their_question}:{their_answer}")
            # A group of its own, which Ctrl-C on a terminal does not reach: the parent ends it.
            options: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {}
            options |= {"stderr": subprocess.DEVNULL, "pass_fds": descriptors}
            process = opened.enter_context(helper(__name__, *arguments, *pairs, **options))
        opened.callback(self._ended, process, questions)
        self._idle.put((process.stdin, process.stdout))

    def close(self) -> None:
        """End them: by closing their input, or after a while without their help."""
        if self.owner == os.getpid():
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._opened.close()

    def _ended(self, process: subprocess.Popen[bytes], questions: Sequence[BinaryIO]) -> None:
        """Close what processes are asked through, and give them time to notice; who is left is killed."""
        for file in (process.stdin, *questions):
            _closed(file)
        if self._answered and not self.broken:  # who is still loading notices nothing
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_FAREWELL)
                return
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL) if os.name == "posix" else process.kill()

    def __call__(self, shares: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Predictions (N, K) and features (N, D) of each share of the images, (N, S, S, C).

        Raises:
            MorphoscopeError: MNN cannot compute the network, or a process ended; then :attr:`broken` is
                true, and others have to take the place of all.
        """
        return list(self._threads.map(self._asked, shares))

    def _asked(self, images_NSSC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        channel = self._idle.get()
        complete = False
        try:
            if channel is None:
                raise EOFError
            question, reply = channel
            pickle.dump(images_NSSC, question, protocol=pickle.HIGHEST_PROTOCOL)
            question.flush()
            answer = pickle.load(reply)
            complete = True
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            raise MorphoscopeError(
                "a process of MNN ended before it answered; the machine may be short of memory: predict with "
                "a smaller --batch, or with --engine onnx, which computes the same"
            ) from error
        finally:
            # What is left of an answer must not be taken for the next one.
            self.broken = self.broken or not complete
            self._idle.put(channel if complete else None)
        self._answered = True
        if isinstance(answer, str):
            raise MorphoscopeError(f"MNN cannot compute this network ({answer}); --engine onnx may")
        found: tuple[np.ndarray, np.ndarray] = answer
        return found


def _closed(file: Any) -> None:
    with contextlib.suppress(OSError):  # what was not sent yet, to a process that has ended
        file.close()


def _pipe(mode: str, ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[BinaryIO, int]:
    """A pipe to another process ("wb") or from it ("rb"): the end for us, and the descriptor of the other."""
    reading, writing = os.pipe()
    our, their = (reading, writing) if mode == "rb" else (writing, reading)
    try:
        file: Any = os.fdopen(_above_standard(our), mode)
        ours.callback(_closed, file)
    finally:
        their = _above_standard(their)
        theirs.callback(os.close, their)
    return file, their


def _above_standard(descriptor: int) -> int:
    """The same open file under a number above 2: those below are others in a process that is started."""
    if descriptor > 2:
        return descriptor
    import fcntl

    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(descriptor)


# From here on: what such a process does.


def _bound_memory(most: int) -> None:
    if most:
        with contextlib.suppress(ImportError, ValueError, OSError):  # Windows, or a lower limit already
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _convert(graph: str, model: str) -> None:
    import _tools  # type: ignore[import-not-found]  # of the package MNN

    code = ("--bizCode", "morphoscope")
    _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", graph, "--MNNModel", model, *code])


class _Network:
    """A converted graph, ready to compute."""

    def __init__(self, model: str) -> None:
        import MNN.expr  # type: ignore[import-not-found]
        import MNN.nn  # type: ignore[import-not-found]

        self._expr: Any = MNN.expr
        nn: Any = MNN.nn
        options = {"backend": "CPU", "precision": "high", "numThread": 1}
        manager = nn.create_runtime_manager((options,))
        outputs = ["probabilities", "features"]
        try:
            self._module = nn.load_module_from_file(model, [INPUT], outputs, runtime_manager=manager)
        except Exception as error:  # a SystemError about Python's own functions
            raise RuntimeError("it cannot load what it converted") from error

    def __call__(self, images_NSSC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images_NCSS = np.ascontiguousarray(images_NSSC.transpose(0, 3, 1, 2), np.float32)
        given = self._expr.const(images_NCSS, list(images_NCSS.shape), self._expr.NCHW)
        found = self._module.forward([given])
        if len(found) != 2:  # no error, but no answer either
            raise RuntimeError("it gives no answer")
        predictions_NK, features_ND = (np.array(each.read(), np.float32) for each in found)
        return predictions_NK, features_ND


def _compute(model: str, side: int, channels: int, pairs: Sequence[tuple[int, int]]) -> None:
    own = os.dup(sys.stdin.fileno()), os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what MNN prints must not mix with the answers
    network: _Network | str
    try:
        network = _Network(model)
        # Weights are arranged at the first pass.
        network(np.zeros((TOGETHER, side, side, channels), np.uint8))
    except Exception as error:
        network = _reason(error)
    forked = []
    for number, pair in enumerate(pairs):
        process = os.fork()
        if process == 0:
            # Who holds the ends of another's pipes keeps it from noticing that they are closed.
            for descriptor in (sys.stdin.fileno(), *own, *itertools.chain(*pairs[number + 1 :])):
                os.close(descriptor)
            try:
                _serve(network, *pair)
            finally:
                os._exit(0)
        forked.append(process)
        for descriptor in pair:
            os.close(descriptor)
    _serve(network, *own)
    for process in forked:
        os.waitpid(process, 0)


def _serve(network: _Network | str, questions: int, answers: int) -> None:
    """Answer until nobody asks any more."""
    with os.fdopen(questions, "rb") as asked, os.fdopen(answers, "wb") as answered:
        while True:
            try:
                images_NSSC = pickle.load(asked)
            except EOFError:
                return
            answer: tuple[np.ndarray, np.ndarray] | str
            try:
                answer = network if isinstance(network, str) else network(images_NSSC)
            except Exception as error:
                answer = _reason(error)
            try:
                pickle.dump(answer, answered, protocol=pickle.HIGHEST_PROTOCOL)
                answered.flush()
            except BrokenPipeError:
                os._exit(1)  # nobody waits for an answer either


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends this process
    memory, what, *arguments = sys.argv[1:]
    _bound_memory(int(memory))
    if what == "convert":
        _convert(*arguments)
        return
    model, side, channels, *pairs = arguments
    ends = [(int(question), int(answer)) for question, answer in (pair.split(":") for pair in pairs)]
    _compute(model, int(side), int(channels), ends)


if __name__ == "__main__":
    _main()
