"""Set up ``.venv`` from plain Python: a virtual environment, uv into it, then the pinned packages.

``make`` runs this before everything else; when nothing has changed it returns at once. Only the
standard library is used, and only syntax that an old Python 3 can read, so that an old one gets a
sentence and not a traceback.

What counts as set up is written to ``.venv/set-up.json`` as the last step: a digest of the files that
say what to install, and the names of what was installed. So a set-up that was interrupted, or an
environment that lost packages, is made anew; a change of ``pyproject.toml`` or ``constraints.txt`` is
installed into the environment that is there.

``--base`` is content with what predicts and draws, about a tenth of the whole; without it the rest is
installed into the same environment.
"""

import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys

OLDEST = (3, 11)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, "set-up.json")
BASE_DOWNLOAD = "260 MB"
CONSTRAINTS = os.path.join(ROOT, "constraints.txt")


def main(arguments):
    """Bring ``.venv`` up to date; the exit status says whether it is.

    ``--this-python`` insists on the Python that runs this file (``make PYTHON=...`` was asked for);
    without it any environment with a Python that is new enough stays. ``--base`` leaves out what trains
    and tests.
    """
    base = "--base" in arguments
    state = _state("--this-python" in arguments, base)
    if state == "ready":
        return 0
    try:
        if state == "new":
            _make_environment()
        else:
            if state == "update":
                _say("pyproject.toml or constraints.txt has changed: updating .venv")
            os.unlink(STAMP)
        _install(base)
    except _SetUpError as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        _say("interrupted; 'make setup' begins again")
        return 130
    with open(STAMP, "w") as file:
        json.dump({"inputs": _inputs(), "base": base, "installed": _installed()}, file, indent=1)
    _say("done")
    return 0


class _SetUpError(Exception):
    pass


def _state(this_python, base):
    """What is there: 'ready'; 'update', other packages are asked for; 'more', the base without the rest that
    is wanted now; 'new', nothing that can be trusted.
    """
    version = _environment_version()
    if version is None or version < OLDEST or (this_python and version != sys.version_info[:2]):
        return "new"
    try:
        with open(STAMP) as file:
            stamp = json.load(file)
        lost = set(stamp["installed"]) - set(_installed())
        inputs = stamp["inputs"]
        more = stamp["base"] and not base
    except (OSError, ValueError, KeyError, TypeError):
        return "new"
    if lost or inputs["root"] != ROOT:  # the scripts in .venv/bin carry the folder's name
        return "new"
    if inputs != _inputs():
        return "update"
    return "more" if more else "ready"


def _environment_version():
    """(major, minor) of ``.venv``'s Python; None without one that could run."""
    if not os.path.exists(VENV_PYTHON):
        return None
    try:
        with open(os.path.join(VENV, "pyvenv.cfg")) as file:
            settings = dict(line.strip().split(" = ", 1) for line in file if " = " in line)
        major, minor = settings["version"].split(".")[:2]
        return int(major), int(minor)
    except (OSError, ValueError, KeyError):
        return None


def _inputs():
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt", os.path.join("scripts", "set_up.py")):
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return {"root": ROOT, "digest": digest.hexdigest()}


def _installed():
    folders = glob.glob(os.path.join(VENV, "lib", "python3*", "site-packages"))
    return sorted(name for folder in folders for name in os.listdir(folder) if name != "__pycache__")


def _make_environment():
    if sys.version_info[:2] < OLDEST:
        raise _SetUpError(
            "Morphoscope needs Python %d.%d or newer and %s is %d.%d; name a newer one, for example "
            "'make PYTHON=python3.12 setup'" % (OLDEST + (sys.executable,) + sys.version_info[:2])
        )
    try:
        import ensurepip  # noqa: F401
        import venv
    except ImportError:
        raise _SetUpError(
            "%s has no 'venv' and 'ensurepip'; install them first (on Debian and Ubuntu: "
            "apt-get install python3-venv)" % sys.executable
        )
    _say("making .venv with Python %d.%d" % sys.version_info[:2])
    shutil.rmtree(VENV, ignore_errors=True)
    venv.create(VENV, with_pip=True, symlinks=True)


def _install(base):
    # uv rather than pip alone: it is quick, and it takes torch from the registry even where pip has been
    # told of local wheels that do not fit the rest.
    _run("installing uv", [VENV_PYTHON, "-m", "pip", "install", "-qq", "-c", CONSTRAINTS, "uv"])
    uv = [os.path.join(VENV, "bin", "uv"), "pip", "install", "--python", VENV_PYTHON, "-c", CONSTRAINTS]
    if not sys.stderr.isatty():
        uv.append("--quiet")
    asked = ["--requirement", "pyproject.toml"]
    # The build backend is installed too, so that building needs no second environment and no network.
    if base:
        _run(
            "installing what predicts and draws (the first time: about %s to download)" % BASE_DOWNLOAD,
            uv + asked + ["--extra", "detect", "--extra", "report", "hatchling", "editables"],
        )
    else:
        _run(
            "installing the packages of constraints.txt (the first time: about 3 GB to download)",
            uv + asked + ["--extra", "all", "--group", "dev"],
        )
    _run(
        "installing morphoscope itself",
        uv + ["--quiet", "--no-deps", "--no-build-isolation", "--editable", "."],
    )
    if not base:
        _compile()


def _compile():
    # Every process of the tests imports thousands of modules; where no bytecode may be written
    # (PYTHONDONTWRITEBYTECODE) each would compile them again. What cannot be compiled does not matter.
    _say("compiling the packages")
    folders = glob.glob(os.path.join(VENV, "lib", "python3*", "site-packages"))
    command = [VENV_PYTHON, "-m", "compileall", "-q", "-j", "0", "-x", r"[\\/]tests?[\\/]"]
    with open(os.devnull, "w") as nowhere:
        subprocess.call(command + folders, cwd=ROOT, env=_environment(), stdout=nowhere, stderr=nowhere)


def _run(what, command):
    _say(what)
    status = subprocess.call(command, cwd=ROOT, env=_environment())
    if status:
        raise _SetUpError("%s failed; the lines above say why. 'make setup' tries again" % what)


def _environment():
    environment = dict(os.environ, VIRTUAL_ENV=VENV)
    environment.pop("PYTHONHOME", None)
    environment.pop("PYTHONPATH", None)
    # pip knows a machine's own mirror of the registry; uv has to be told.
    if "UV_DEFAULT_INDEX" not in environment and "UV_INDEX_URL" not in environment:
        mirror = environment.get("PIP_INDEX_URL") or _pip_setting("global.index-url")
        if mirror:
            environment["UV_DEFAULT_INDEX"] = mirror
    return environment


def _pip_setting(name):
    answer = subprocess.run(
        [VENV_PYTHON, "-m", "pip", "config", "get", name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return answer.stdout.decode().strip()


def _say(text):
    sys.stderr.write("set-up: %s\n" % text)
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
