"""Cache of decoded clips, beside the run folders that use them.

A file is named by all that its samples depend on: path, size and modification time of
the source file, the span of the clip, the view and the audio settings (see
`asc_tf.core.cache`).
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from asc_tf.audio import cache_format
from asc_tf.audio.read import read_channels
from asc_tf.audio.scan import read_stamp
from asc_tf.config import Audio
from asc_tf.core.cache import FileCache
from asc_tf.core.errors import UserError
from asc_tf.core.memory import find_memory_limit
from asc_tf.core.processors import count_processors
from asc_tf.core.progress_bar import Progress, show_nothing
from asc_tf.dsp import resampling
from asc_tf.dsp.preprocessing import downmix_and_resample
from asc_tf.manifest import Clip

RESAMPLING_FILTER = (
    *(resampling.ZERO_CROSSINGS, resampling.CUTOFF, resampling.KAISER_BETA),
    resampling.STEPS,
)
"""Parameters of the resampling filter, on which the cached samples depend."""


class Row(NamedTuple):
    """Clip and view that make one example."""

    clip: Clip
    view: str


class WaveformCache:
    """Cache folder of decoded clips of the corpus in the folder `root`."""

    def __init__(self, folder: Path, root: Path, audio: Audio) -> None:
        self._files = FileCache(folder, ".audio")
        self._root, self._audio = root, audio

    @property
    def folder(self) -> Path:
        """Folder of the cache."""
        return self._files.folder

    def path(self, row: Row) -> Path:
        """Give the path of a row's file, whether it exists or not."""
        clip, audio = row.clip, self._audio
        identity = (
            os.path.realpath(self._root / clip.path),
            *(clip.size, clip.mtime_ns, clip.start, clip.duration, clip.route),
            *(row.view, audio.sample_rate, audio.cache_dtype),
            *(cache_format.MAGIC.hex(), *RESAMPLING_FILTER),
        )
        return self._files.locate(identity)

    def fill(
        self,
        rows: Sequence[Row],
        progress: Progress = show_nothing,
    ) -> dict[Row, Path]:
        """Decode and write the clips that are not in the cache, in parallel.

        Args:
            rows: Scanned clips and views.
            progress: Wrapper of the iterator of finished clips; see `make_bar`.

        Returns:
            Path of the file of each row.

        Raises:
            UserError: If a file changed since its scan, or the folder cannot be
                written to.
        """
        paths = {row: self.path(row) for row in rows}
        missing: dict[tuple, dict[Path, Row]] = defaultdict(dict)
        for row, path in paths.items():
            if not self._is_cached(path):
                span = (row.clip.path, row.clip.start, row.clip.duration)
                missing[span][path] = row
        if not missing:
            return paths
        clips = [row.clip for views in missing.values() for row in views.values()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with ThreadPoolExecutor(_choose_threads(clips)) as pool:
                done = pool.map(self._write_views, missing.values())
                for _ in progress(done, len(missing)):
                    pass
        except OSError as error:
            raise UserError(
                f"audio.cache_dir = {self.folder}: cannot be written to: {error}; give "
                "another folder, or free disk space"
            ) from error
        return paths

    def _is_cached(self, path: Path) -> bool:
        try:
            with path.open("rb") as stream:
                head = stream.read(cache_format.HEADER.size)
                size = os.fstat(stream.fileno()).st_size
        except OSError:
            return False
        return cache_format.is_complete(head, size, self._audio.cache_dtype)

    def _write_views(self, views: dict[Path, Row]) -> None:
        """Decode a clip once, and write its views."""
        clip = next(iter(views.values())).clip
        source = self._root / clip.path
        span = (clip.start, clip.duration)
        waveform, rate = read_channels(
            source, clip.route, clip.sample_rate, span, self._audio
        )
        if read_stamp(source) != (clip.size, clip.mtime_ns):
            raise UserError(f"{source}: has changed since it was scanned; run again")
        for path, row in views.items():
            view = downmix_and_resample(
                waveform, rate, row.view, self._audio.sample_rate
            )
            with self._files.write(path) as partial, partial.open("wb") as stream:
                stream.writelines(cache_format.encode(view, self._audio.cache_dtype))


def _choose_threads(clips: Iterable[Clip]) -> int:
    """Choose how many clips are decoded at a time, so that they fit into the memory."""
    largest = max(4 * clip.samples * clip.channels for clip in clips)
    # A clip takes up to four times its samples: contents, channels, and their copies.
    fitting = find_memory_limit() // 2 // (4 * largest)
    return max(1, min(count_processors(), fitting))
