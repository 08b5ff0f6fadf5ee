"""Addresses, sizes and checksums of the official archives of each corpus.

Where soundata has the addresses, they are taken from soundata, so that a corrected one
arrives with its next release. The others are here, each table with its source. A
checksum that nobody publishes is left empty, never guessed.
"""

import importlib

from asc_tf.core.errors import UserError, install_hint
from asc_tf.datasets.download.fetching import Archive

_ZENODO = "https://zenodo.org/records"

# Name, bytes and MD5 as in dcase_util 0.2.20, the corpus authors' own package.
_TUT_2018 = """
doc 10517 28a4a9c46a6f46709ecc8eece365a3a4
meta 69272 e196065ee83c07af03a11a310364377d
audio.1 1657811579 62f97087c447e29def8716204469bf89
audio.2 1783489370 8e569a92025d82bff6b02b956d7c6dc9
audio.3 1809675304 00d2020582a4535af5e65322fb2bad56
audio.4 1756582525 d691eb4271f83ba6ba9a28797accc497
audio.5 1724002546 c4d64b5483b60f85e9fe080b3435a6be
audio.6 1645753049 2f0feee78f216697eb19497714d97642
audio.7 1671903917 07cfefe80a0731de6819181841239f3a
audio.8 1673304843 213f3c012859c2e9dcb74aacc8558458
audio.9 1674839259 b724442b09abcb3bd095ebff497cef85
audio.10 1662932947 a27a32fa52e283ed8013375b8a16f269
audio.11 1751473843 7073a121e825ffef99832507f30d6644
audio.12 1742332198 6567aa61db12776568b6267ce122fb18
audio.13 798990513 d00eeb2db0e093d8975521323a96c519
"""
_TAU_2020_3CLASS = """
doc 12026 1f50091832fef59ef79f7b7fcfc91525
meta 154856 68de6dc1a81f8ef9c3a7851acda67786
audio.1 1657560336 dab8b3564c1927eb8fc5906f61917ef9
audio.2 1654366875 82995465514560a3dff486ffc1b77cab
audio.3 1817911349 fda4f39dae354d6eea8662c4f8228b70
audio.4 1818799452 6795666e7e872114a0bd8b7dea333761
audio.5 1803128209 0920299dd8600c3fec421af79588535b
audio.6 1777403835 65fab659046ef15c8ae3e15025737551
audio.7 1747963586 55dd8e47bd868611d5e7bacad57b96b5
audio.8 1720046267 9fdae7f1658160d6c4d844d642c1e762
audio.9 1667115976 6178c22394a3bf0f67b2c47d1690c6d7
audio.10 1615255858 d054358cfd7c9b568c03c2c87f6461c4
audio.11 1671803243 fcbb4d5835f030819e099fc0701932dc
audio.12 1660209697 92e6347acf82226d1458859b7ca281ba
audio.13 1673491310 99570283c1dd64aaf954eb526fd2e394
audio.14 1660091069 13efa3cd2084ccdba76b1087a4fac57f
audio.15 1675136726 1e3cc2fed352cf9331a815f2c969458a
audio.16 1648250719 d232c47c39d9f2683ef805565ad9b068
audio.17 1693567638 75bd9417b8134476122c7f8a8fb11d4b
audio.18 1731103523 ae04e9ed8da615b2f1f9aa5e02b9c3f2
audio.19 1745163308 284fe9195bdbd5159438bac5ea4595e1
audio.20 1774048510 7e2f15f5f19114ffcb0b94f0a15fa272
audio.21 1331132724 e5d0491071d6a652fe3693586770fdc0
"""

# MD5 as published with the archives, by way of a re-publication of 2026 that checks
# them; it does not give their sizes.
_FSDKAGGLE_2018 = """
doc 0 4f2d1ac88f33a62f9db3108b269ee1b7
meta 0 f16828ac8be0e5285b9175a12f90d784
audio_train 0 a8b47ff4b52022c178f88fa5c6f080d0
audio_test 0 f85c8665c3fc39311ea1b748e194a81d
"""


def _list_zenodo_archives(record: int, stem: str, table: str) -> tuple[Archive, ...]:
    """List the zip archives of a Zenodo record, from lines of suffix, bytes, MD5."""
    archives = []
    for line in table.split("\n"):
        if line:
            suffix, size, md5 = line.split()
            name = f"{stem}.{suffix}.zip"
            url = f"{_ZENODO}/{record}/files/{name}?download=1"
            archives.append(Archive(name, url, md5, int(size)))
    return tuple(archives)


ARCHIVES: dict[str, tuple[Archive, ...]] = {
    "esc10": (
        # The last commit before the repository was merged into that of ESC-50. Nobody
        # publishes a checksum of this archive.
        Archive(
            "ESC-10.zip",
            "https://github.com/karolpiczak/ESC-10/archive/"
            "553c8f1743b9dba6b282e1323c3ca8fa76923448.zip",
        ),
    ),
    "esc50": (
        # A fixed commit: soundata 1.0.1 has the checksum of a `master` that has since
        # changed, and refuses what it downloads.
        Archive(
            "ESC-50.zip",
            "https://github.com/karolpiczak/ESC-50/archive/"
            "33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6.zip",
            "071b44018315e034b2c6e8064543d19c",
        ),
    ),
    "tut2018": _list_zenodo_archives(
        1228142, "TUT-urban-acoustic-scenes-2018-development", _TUT_2018
    ),
    "tau2020_3class": _list_zenodo_archives(
        3670185, "TAU-urban-acoustic-scenes-2020-3class-development", _TAU_2020_3CLASS
    ),
    "fsdkaggle2018": _list_zenodo_archives(2552860, "FSDKaggle2018", _FSDKAGGLE_2018),
}

SOUNDATA: dict[str, tuple[str, str]] = {
    "urbansound8k": ("urbansound8k", "all"),
    "tau2019": ("tau2019uas", "development"),
    "tau2020_mobile": ("tau2020uas_mobile", "development"),
    "tau2022_mobile": ("tau2022uas_mobile", "development"),
}
"""By corpus: module in soundata, and start of the names of the archives to use."""


def find_archives(name: str) -> tuple[Archive, ...]:
    """Find the official archives of a corpus; none if it has no address.

    Raises:
        UserError: If they are in soundata, which is missing or no longer has them.
    """
    if name not in SOUNDATA:
        return ARCHIVES.get(name, ())
    module, begins = SOUNDATA[name]
    try:
        remotes = importlib.import_module(f"soundata.datasets.{module}").REMOTES
    except ImportError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"the addresses of {name} come from the package soundata, which cannot be "
            f"imported ({reason}): {install_hint('datasets')}"
        ) from error
    chosen = [remotes[key] for key in remotes if key.partition(".")[0] == begins]
    if not chosen or any(isinstance(remote, list) for remote in chosen):
        raise UserError(
            f"soundata no longer has {module} as single archives named {begins}; "
            "pip install 'soundata==1.0.1'"
        )
    return tuple(Archive(each.filename, each.url, each.checksum) for each in chosen)
