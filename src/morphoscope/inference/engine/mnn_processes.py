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
        self._idle: queue.SimpleQueue[_Channel] = queue.SimpleQueue()
        arguments = (str(memory), "compute", str(model), str(side), str(channels))
        with contextlib.ExitStack() as opened:
            if _FORKS:
                self._start(opened, arguments, number - 1)
            else:
                for _ in range(number):
                    self._start(opened, arguments, 0)
            self._opened = opened.pop_all()
        self._threads = ThreadPoolExecutor(number, thread_name_prefix="network")

    def _start(self, opened: contextlib.ExitStack, arguments: tuple[str, ...], forked: int) -> None:
        theirs: list[int] = []
        channels: list[_Channel] = []
        try:
            for _ in range(forked):
                (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
                theirs += [their_in, their_out]
                channel = os.fdopen(our_out, "wb"), os.fdopen(our_in, "rb")
                channels.append(channel)
                self._idle.put(channel)
            pairs = [f"{theirs[at]}:{theirs[at + 1]}" for at in range(0, len(theirs), 2)]
            process = opened.enter_context(
                helper(__name__, *arguments, *pairs, stderr=subprocess.DEVNULL, pass_fds=theirs)
            )
            opened.callback(_ended, process, channels)
            self._idle.put((process.stdin, process.stdout))
        finally:
            for descriptor in theirs:
                os.close(descriptor)

    def close(self) -> None:
        """End them: by closing their input, or after a while without their help."""
        if self.owner == os.getpid():
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._opened.close()

    def __call__(self, shares: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Predictions (N, K) and features (N, D) of each share of the images, (N, S, S, C).

        Raises:
            MorphoscopeError: MNN cannot compute the network, or a process ended.
        """
        return list(self._threads.map(self._asked, shares))

    def _asked(self, images_NSSC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        channel = self._idle.get()
        question, reply = channel
        try:
            pickle.dump(images_NSSC, question, protocol=pickle.HIGHEST_PROTOCOL)
            question.flush()
            answer = pickle.load(reply)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            raise MorphoscopeError(
                "a process of MNN ended before it answered; the machine may be short of memory: predict with "
                "a smaller --batch, or with --engine onnx, which computes the same"
            ) from error
        finally:
            self._idle.put(channel)
        if isinstance(answer, str):
            raise MorphoscopeError(f"MNN cannot compute this network ({answer}); --engine onnx may")
        found: tuple[np.ndarray, np.ndarray] = answer
        return found


def _ended(process: subprocess.Popen[bytes], channels: Sequence[_Channel]) -> None:
    """Close what processes are asked through, and give them time to notice; who is still there is killed."""
    for file in (process.stdin, *itertools.chain(*channels)):
        with contextlib.suppress(OSError):  # what was not sent yet, to a process that has ended
            file.close()  # type: ignore[union-attr]
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_FAREWELL)


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
        self._module = nn.load_module_from_file(model, [INPUT], outputs, runtime_manager=manager)

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
