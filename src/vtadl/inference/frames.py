"""Score the frames of a camera, a stream or a film: a film whole, a live source at its newest frame.

Extra: ``camera`` (OpenCV). Frames are scored as 8-bit images; nothing is kept of them but rows and pictures.
"""

import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vtadl.errors import ConfigError, DataError, DependencyError
from vtadl.inference.batch import Options, Sink, written_row
from vtadl.inference.predict import ScoredFile, predict_image
from vtadl.runs.run import Run

LIVE = ("http://", "https://", "rtsp://", "rtsps://", "rtmp://", "udp://", "tcp://")
"""Beginnings of streams, which do not wait for who reads them."""
TRIES = 10
"""How often in a row a live source that dropped is tried again: three minutes in all."""
LONGEST_WAIT = 30.0
"""Seconds between two tries; the first waits a second, each next one twice as long."""
TIMEOUT_MS = 5_000
"""A stream that sends nothing for so long has dropped; Ctrl-C waits for it no longer."""
QUIET = {"OPENCV_FFMPEG_LOGLEVEL": "-8", "OPENCV_LOG_LEVEL": "SILENT"}
"""Environment of OpenCV in which it does not speak on stderr."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A picture of a source."""

    name: str
    """Of a film its number, ``000012``; of a live source the time when it was read, ``20261128-054012.345``."""
    pixels: NDArray[np.uint8]
    """``(H, W, 3)``, RGB."""


def inspect_frames(
    run: Run,
    source: str,
    sink: Sink,
    device: torch.device,
    options: Options,
    *,
    every: int = 1,
    reconnect: int = TRIES,
    say: Callable[[str], object] = lambda line: None,
    done: Callable[[str], bool] = lambda name: False,
    stop: threading.Event | None = None,
) -> int:
    """Score frames and add a row for each, whose ``file`` is ``SOURCE#NAME``, the source without a password.

    Args:
        run: the detector.
        source: a film's file; a camera's number; or a stream's address.
        sink: takes the rows.
        device: where the model runs.
        options: which pictures to write.
        every: score one frame of so many; under load a live source gives fewer.
        reconnect: how often in a row a live source that ended or dropped is tried again; 0: its end is the end.
        say: called with a line when it dropped.
        done: whether a frame of this ``file`` has a row already.
        stop: ends it after the frame that is being scored.

    Returns:
        How many frames a live source gave that were not scored because newer ones came, 0 of a film.

    Raises:
        ConfigError: no such source.
        DataError: it cannot be opened, gave no frame at all, or did not come back.
        DependencyError: OpenCV is missing.
    """
    stop = stop or threading.Event()
    connection = _Connection(source, every, reconnect if is_live(source) else 0, say)
    with closing(connection.frames(stop)) as frames:
        for frame in frames:
            name = f"{without_password(source)}#{frame.name}"
            if not done(name):
                scored = _scored(run, frame, Path(name), device)
                row = written_row(run, scored, picture_folder(source) / frame.name, sink.folder, options)
                sink.add({**row, "file": name, "identity": [name, 0, 0]})  # a path would make one slash of two
            if stop.is_set():
                break
    return connection.passed_over


def is_live(source: str) -> bool:
    """Whether frames come whether or not somebody reads them: a camera or a stream, no film."""
    return source.isdecimal() or source.lower().startswith(LIVE)


def without_password(source: str) -> str:
    """A source as files and messages name it: a stream's address may hold a name and a password, which stay secret."""
    scheme, separator, rest = source.partition("://")
    if not separator or not is_live(source):
        return source
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def picture_folder(source: str) -> Path:
    """Where the pictures of a source's frames go: a film's name, ``camera-0``, ``stream``."""
    if source.isdecimal():
        return Path(f"camera-{source}")
    return Path("stream") if is_live(source) else Path(Path(source).name)


class _Connection:
    """A source; a live one that drops is tried again, less and less often."""

    def __init__(self, source: str, every: int, reconnect: int, say: Callable[[str], object]) -> None:
        self.source, self.every, self.reconnect, self.say = source, every, reconnect, say
        self.shown = without_password(source)
        self.passed_over = 0

    def frames(self, stop: threading.Event) -> Generator[Frame]:
        """Its frames; once there was one, whatever happens to it."""
        seen, tries = False, 0
        while True:
            try:
                for frame in self._once(stop):
                    seen, tries = True, 0
                    yield frame
            except DataError:  # it cannot be opened, or not yet again
                if not seen:
                    raise
            if stop.is_set() or (seen and not self.reconnect):
                return
            if not seen:
                expected = "expected a film, a camera or a stream that can be read"
                raise DataError(f"'{self.shown}' gave no frame; {expected}")
            if tries == self.reconnect:
                raise DataError(f"'{self.shown}' did not come back in {tries} tries; the same command continues")
            if tries == 0:
                self.say(f"'{self.shown}' gives no more frames; trying it again, {self.reconnect} times in a row")
            if stop.wait(min(2.0**tries, LONGEST_WAIT)):
                return
            tries += 1

    def _once(self, stop: threading.Event) -> Iterator[Frame]:
        reader_of = _Newest if is_live(self.source) else _Film
        with _opened(self.source) as capture, closing(reader_of(capture, self.every)) as reader:
            try:
                yield from reader.frames(stop)
            finally:
                self.passed_over += reader.passed_over


@contextmanager
def _opened(source: str) -> Iterator[Any]:
    # What a broken source makes OpenCV and FFmpeg say, the error says; they read this when they are first used.
    os.environ.update({name: level for name, level in QUIET.items() if name not in os.environ})
    try:
        import cv2
    except ImportError as error:
        raise DependencyError(
            "--source needs OpenCV, which is not installed; add it with: pip install 'vtadl[camera]'"
        ) from error
    if not is_live(source) and not Path(source).is_file():
        raise ConfigError(f"'{source}' is no file; --source takes a film, a camera's number such as 0, or http:, rtsp:")
    capture = cv2.VideoCapture()
    if source.isdecimal():
        capture.open(int(source))
    elif is_live(source):
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS]
        capture.open(source, cv2.CAP_FFMPEG, timeouts)
    else:
        capture.open(source)
    try:
        if not capture.isOpened():
            shown = without_password(source)
            raise DataError(f"cannot open '{shown}'; expected a film, a camera or a stream that OpenCV can read")
        yield capture
    finally:
        capture.release()


class _Film:
    """Every frame in its order, however long it takes."""

    passed_over = 0

    def __init__(self, capture: Any, every: int) -> None:
        self._capture, self._every = capture, every

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Up to the film's end."""
        number = 0
        while self._capture.grab():
            if number % self._every == 0:
                whole, pixels = self._capture.retrieve()
                if whole:
                    yield Frame(name=f"{number:06}", pixels=_rgb(pixels))
            number += 1

    def close(self) -> None:
        """Nothing is left to end."""


class _Newest:
    """Reads a live source as fast as it comes, and keeps the newest frame alone."""

    def __init__(self, capture: Any, every: int) -> None:
        self._capture, self._every = capture, every
        self._frame: Frame | None = None
        self._changed = threading.Condition()
        self._ended = False
        self.passed_over = 0
        self._thread = threading.Thread(target=self._read, name="vtadl-camera", daemon=True)
        self._thread.start()

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """The newest frame each time that one is asked for; ends with the source."""
        while not stop.is_set():
            with self._changed:
                if self._frame is None and not self._ended:
                    self._changed.wait(0.2)  # so that a stop is noticed while nothing comes
                frame, self._frame = self._frame, None
                if frame is None and self._ended:
                    return
            if frame is not None:
                yield frame

    def close(self) -> None:
        """End the reading thread, before the source is closed."""
        self._ended = True
        self._thread.join()

    def _read(self) -> None:
        number = 0
        while not self._ended:
            whole, pixels = self._capture.read()
            if not whole:
                break
            if number % self._every == 0:
                name = datetime.now(UTC).strftime("%Y%m%d-%H%M%S.%f")[:-3]
                with self._changed:
                    self.passed_over += self._frame is not None
                    self._frame = Frame(name=name, pixels=_rgb(pixels))
                    self._changed.notify()
            number += 1
        with self._changed:
            self._ended = True
            self._changed.notify()


def _rgb(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """OpenCV's order of colours turned round."""
    return np.ascontiguousarray(pixels[..., ::-1])


def _scored(run: Run, frame: Frame, path: Path, device: torch.device) -> ScoredFile:
    started = time.perf_counter()
    prediction = predict_image(run, frame.pixels, device)
    milliseconds = 1000 * (time.perf_counter() - started)
    return ScoredFile(index=0, path=path, prediction=prediction, original=frame.pixels, milliseconds=milliseconds)
