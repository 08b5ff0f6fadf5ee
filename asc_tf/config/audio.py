"""The audio section of a configuration: audio files to segments."""

from dataclasses import dataclass

from asc_tf.config.options import Section, option


@dataclass(frozen=True)
class Audio(Section):
    """Audio files to segments of fixed length."""

    sample_rate: int = option(
        32000, "rate that every clip is resampled to, Hz", minimum=1000, maximum=384000
    )
    segment_seconds: float = option(
        4.0,
        "length of a segment, s; shorter clips are padded or looped",
        minimum=0.05,
        maximum=600.0,
    )
    hop_seconds: float = option(
        0.0,
        "step between the segments of a clip in evaluation, s; 0: segment_seconds",
        minimum=0.0,
        maximum=600.0,
    )
    max_seconds: float = option(
        600.0, "a longer file is refused, s", minimum=0.1, maximum=86400.0
    )
    decoder: str = option(
        "auto",
        "auto: WAV, FLAC, Ogg Vorbis and MP3 in the graph, all others by libsndfile; "
        "graph: the graph alone, other files are refused; libsndfile: all files by "
        "libsndfile",
        choices=("auto", "graph", "libsndfile"),
    )
    channels: str = option(
        "mono",
        "mono: mean of all channels; left, right: one channel; stereo: both; mid_side: "
        "mean and half difference; split: left, right and mean as three examples",
        choices=("mono", "left", "right", "stereo", "mid_side", "split"),
    )
    short_clips: str = option(
        "pad",
        "a clip shorter than a segment: padded with zeros, or looped",
        choices=("pad", "loop"),
    )
    last_segment: str = option(
        "align",
        "where all segments are taken, the rest of a clip that does not fill one: "
        "align takes one more segment, which ends where the clip ends; drop leaves "
        "the rest out",
        choices=("align", "drop"),
    )
    cache: str = option(
        "memory",
        "decoded waveforms; memory: keep in memory; disk: keep in files; none: decode "
        "again in each epoch (what libsndfile decodes is kept in files in any case)",
        choices=("memory", "disk", "none"),
    )
    cache_dir: str = option(
        "", "folder of these files; empty: audio_cache beside the run folder"
    )
    cache_dtype: str = option(
        "int16",
        "samples in these files; int16 is scaled to each clip's peak",
        choices=("int16", "float16", "float32"),
    )

    @property
    def segment_samples(self) -> int:
        """Samples in a segment."""
        return round(self.segment_seconds * self.sample_rate)

    @property
    def hop_samples(self) -> int:
        """Samples between the starts of neighbouring segments."""
        return round((self.hop_seconds or self.segment_seconds) * self.sample_rate)
