"""What servers say of the content's digest: any of it that is of the whole, and nothing else, is heard."""

from __future__ import annotations

import base64
import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from largefile.events import Fetch, Response
from largefile.rules import digests
from largefile.rules.digests import ServerDigest, server_digest
from largefile.rules.identity import Identity, Match, vouched_by
from largefile.rules.ranged_http import Kind, judge

FIELDS = {"sha-512": "sha512", "sha-256": "sha256", "sha": "sha1", "md5": "md5"}
DATA = b"the content"


def raw(algorithm, data=DATA):
    return hashlib.new(algorithm, data).digest()


def b64(algorithm, data=DATA):
    return base64.b64encode(raw(algorithm, data)).decode()


def named(algorithm, data=DATA):
    return f"{algorithm}:{raw(algorithm, data).hex()}"


SHA512, SHA256, SHA1, MD5 = (b64(name) for name in FIELDS.values())
OTHER = b64("sha256", b"else")

HEARD = [
    ({"repr-digest": f"sha-256=:{SHA256}:"}, "Repr-Digest", "sha256"),
    ({"repr-digest": f"sha-256=:{SHA256}:, sha-512=:{SHA512}:"}, "Repr-Digest", "sha512"),
    ({"repr-digest": f"sha-512=:{SHA512}:,sha-256=:{SHA256}:"}, "Repr-Digest", "sha512"),
    ({"repr-digest": f' a;b="x, \\"y" , sha-256=:{SHA256}:;q=1;z , c=?1 '}, "Repr-Digest", "sha256"),
    ({"repr-digest": f"sha-256=:{OTHER}:, sha-256=:{SHA256}:"}, "Repr-Digest", "sha256"),
    ({"repr-digest": f"sha-256=:{SHA256.rstrip('=')}:"}, "Repr-Digest", "sha256"),
    ({"repr-digest": f"md5=:{MD5}:, sha=:{SHA1}:, crc32c=:AAAAAA==:"}, "Repr-Digest", "sha1"),
    ({"digest": f"SHA-256={SHA256}"}, "Digest", "sha256"),
    ({"digest": f"md5={MD5},SHA={SHA1}, unixsum=30637"}, "Digest", "sha1"),
    ({"digest": f"sha-256={SHA256}, sha-256={OTHER}"}, "Digest", "sha256"),
    ({"x-goog-hash": f"crc32c=n03x6A==, md5={MD5}"}, "x-goog-hash", "md5"),
    ({"x-goog-hash": f"md5={MD5}", "x-goog-stored-content-encoding": "identity"}, "x-goog-hash", "md5"),
    (
        {"x-amz-checksum-sha256": SHA256, "x-amz-checksum-type": "FULL_OBJECT"},
        "x-amz-checksum-sha256",
        "sha256",
    ),
    ({"x-amz-checksum-sha1": SHA1, "x-amz-checksum-type": "FULL_OBJECT"}, "x-amz-checksum-sha1", "sha1"),
    ({"digest": f"sha-256={SHA256}", "repr-digest": f"sha-256=:{SHA256}:"}, "Repr-Digest", "sha256"),
    ({"x-goog-hash": f"md5={MD5}", "digest": f"sha={SHA1}"}, "Digest", "sha1"),
]
#: … where the body is the whole content, and only there.
HEARD_OF_WHOLE = [
    ({"content-digest": f"sha-256=:{SHA256}:"}, "Content-Digest", "sha256"),
    ({"content-md5": MD5}, "Content-MD5", "md5"),
    ({"x-amz-checksum-sha256": SHA256}, "x-amz-checksum-sha256", "sha256"),
    ({"x-amz-checksum-sha1": SHA1}, "x-amz-checksum-sha1", "sha1"),
]
UNHEARD = [
    {},
    {"etag": f'"{raw("md5").hex()}"'},
    {"repr-digest": ""},
    {"repr-digest": f"sha-256=:{SHA256}:,"},
    {"repr-digest": f"SHA-256=:{SHA256}:"},
    {"repr-digest": f"sha-256={SHA256}"},
    {"repr-digest": f"sha-256=:{SHA256}"},
    {"repr-digest": f"sha-256=:{SHA1}:"},
    {"repr-digest": f"sha-512=:{SHA256}:"},
    {"repr-digest": f"sha-256=:{SHA256}: sha-512=:{SHA512}:"},
    {"repr-digest": f"sha-256=:{SHA256}:, sha-256=?0"},
    {"repr-digest": "sha-256=::"},
    {"digest": f"sha-256={raw('sha256').hex()}"},
    {"digest": f"id-sha-256={SHA256}"},
    {"x-goog-hash": "crc32c=n03x6A=="},
    {"x-goog-hash": f"md5={MD5}", "x-goog-stored-content-encoding": "gzip"},
    {"x-amz-checksum-crc32c": "n03x6A=="},
    {"x-amz-checksum-sha256": f"{SHA256}-7"},
    {"x-amz-checksum-sha256": f"{SHA256}-7", "x-amz-checksum-type": "COMPOSITE"},
    {"x-amz-checksum-sha256": SHA256, "x-amz-checksum-type": "COMPOSITE"},
]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("headers", "field", "algorithm"), HEARD)
def test_what_speaks_of_the_whole_content_is_heard(headers, field, algorithm, whole):
    assert server_digest(headers, whole) == (named(algorithm), field)


@pytest.mark.parametrize(("headers", "field", "algorithm"), HEARD_OF_WHOLE)
def test_what_speaks_of_the_body_is_heard_of_a_whole_body_alone(headers, field, algorithm):
    assert server_digest(headers, whole=True) == (named(algorithm), field)
    assert server_digest(headers, whole=False) is None


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("headers", UNHEARD)
def test_nothing_else_is(headers, whole):
    assert server_digest(headers, whole) is None


def test_an_algorithm_that_the_system_forbids_is_none(monkeypatch):
    def new(name):
        if name == "md5":
            raise ValueError("disabled for FIPS")
        return hashlib.sha1()

    monkeypatch.setattr("hashlib.new", new)
    digests._size.cache_clear()
    try:
        assert server_digest({"content-md5": MD5}, whole=True) is None
        assert server_digest({"digest": f"md5={MD5},sha={SHA1}"}, whole=True).algorithm == "sha1"
    finally:
        digests._size.cache_clear()


values = st.text(st.sampled_from('abmd5sha-256=:;,"\\ \t?*/+AQZ\u00e9\udc80'), max_size=60) | st.text(
    max_size=60
)


@given(
    st.dictionaries(st.sampled_from([f.lower() for _, f, _ in HEARD + HEARD_OF_WHOLE]), values), st.booleans()
)
def test_whatever_comes_is_a_digest_or_none(headers, whole):
    found = server_digest(headers, whole)
    if found is not None:
        assert found.algorithm in FIELDS.values()
        assert len(found.digest.partition(":")[2]) == 2 * hashlib.new(found.algorithm).digest_size


@given(st.sampled_from(sorted(FIELDS)), st.binary(), st.sampled_from(["", " ", "\t"]), st.booleans())
def test_what_is_written_is_read(name, data, space, old):
    text = b64(FIELDS[name], data)
    headers = (
        {"digest": f"{name.upper()}={text}{space},crc32c=1"}
        if old
        else {"repr-digest": f"{name}=:{text}:{space},{space}x;a=:YQ==:"}
    )
    found = server_digest(headers, whole=False)
    assert found == (named(FIELDS[name], data), "Digest" if old else "Repr-Digest")


def test_a_long_field_takes_no_long_time():
    began = time.process_time()
    for text in (
        "a;b=:ab:" * 9000,
        "a" + ";b=:ab:" * 9000 + "\0",
        'a="' + "\\\\" * 40_000,
        "=" * 80_000,
        ",," * 40_000,
    ):
        for field in ("repr-digest", "digest", "content-md5", "x-goog-hash"):
            server_digest({field: text}, whole=True)
    assert time.process_time() - began < 2


# --- in an identity -------------------------------------------------------------------------------

SAID = ServerDigest(named("sha256"), "Repr-Digest")
ELSE = ServerDigest(named("sha256", b"else"), "Digest")
ANOTHER_WAY = ServerDigest(named("md5", b"else"), "Content-MD5")


def identity(said, etag='"a"', digest=None):
    return Identity(etag, None, 100, digest, said)


def test_another_digest_is_another_version_and_one_of_another_kind_says_nothing():
    assert identity(SAID).compare(identity(ELSE)) is Match.CONTRADICTORY
    assert identity(SAID).compare(identity(SAID._replace(field="Digest"))) is Match.EQUAL
    for other in (None, ANOTHER_WAY):
        assert identity(SAID).compare(identity(other)) is Match.EQUAL
        assert identity(other).compare(identity(SAID)) is Match.EQUAL
    assert "Repr-Digest sha256:" in identity(SAID).difference(identity(ELSE))
    assert "Repr-Digest sha256:" in identity(SAID).describe()


def test_two_words_agree_by_what_they_say_and_not_by_where():
    assert SAID.agrees(SAID._replace(field="Digest"))
    for other in (ELSE, ANOTHER_WAY, None):
        assert not SAID.agrees(other)
        assert SAID.contradicts(other) == (other is ELSE)


def test_the_servers_word_is_not_the_callers():
    assert identity(SAID).compare(identity(None, digest=ELSE.digest)) is Match.EQUAL
    assert identity(SAID).verified_by == "strong-etag"
    assert identity(SAID, etag=None).resumable_with(identity(SAID, etag=None))[0] is False
    assert vouched_by(identity(SAID), SAID.digest) == "digest"
    assert vouched_by(identity(SAID), SAID.digest, SAID) == "server-digest"
    assert vouched_by(identity(SAID), None) == "strong-etag"


def answer(status=206, **fields):
    usual = {"content-range": "bytes 0-9/100", "etag": '"a"'} if status == 206 else {"content-length": "100"}
    return Response(status, {**usual, **{name.replace("_", "-"): value for name, value in fields.items()}})


def test_an_answer_is_judged_by_its_digest():
    def judged(response, pinned=None, **more):
        fetch = Fetch(0, 9, "http://x/", (("Cache-Control", "no-cache"),))
        return judge(fetch, response, pinned, wall_now=0.0, **more)

    first = judged(answer(repr_digest=f"sha-256=:{SHA256}:"))
    assert first.identity.said == SAID
    same = answer(repr_digest=f"sha-256=:{SHA256}:, md5=:{MD5}:")
    changed = answer(repr_digest=f"sha-256=:{OTHER}:")
    assert judged(same, first.identity).kind is Kind.ACCEPT
    assert judged(answer(), first.identity).kind is Kind.ACCEPT
    assert judged(answer(content_digest=f"sha-256=:{OTHER}:"), first.identity).kind is Kind.ACCEPT
    assert judged(changed, first.identity).kind is Kind.CHANGED
    unheard = judged(answer(repr_digest=f"sha-256=:{SHA256}:"), digests=False)
    assert unheard.identity.said is None
    assert judged(changed, unheard.identity, digests=False).kind is Kind.ACCEPT
    whole = judged(answer(200, content_digest=f"sha-256=:{OTHER}:"))
    assert whole.identity.said == (named("sha256", b"else"), "Content-Digest")
