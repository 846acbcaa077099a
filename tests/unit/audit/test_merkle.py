"""Merkle trees and tile files: published vectors, and the laws that make proofs worth something."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.audit.merkle import (
    EMPTY_ROOT,
    check_consistency,
    check_inclusion,
    consistency_proof,
    fold,
    inclusion_proof,
    leaf_hash,
    node_hash,
    nodes_of,
    root,
)
from agents.audit.tiles import LogState, bundle_path, extend, load, split_bundle, stored_bundle, stored_nodes, tile_path
from agents.audit.verify import Tree, index_path, root_of
from agents.errors import Inconsistent

# The eight leaves and the roots over the first 1 … 8 of them that Certificate Transparency's reference tests use.
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]


def rfc6962_root(entries: list[bytes]) -> bytes:
    """The definition of RFC 6962 section 2.1, word by word."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return hashlib.sha256(b"\x01" + rfc6962_root(entries[:k]) + rfc6962_root(entries[k:])).digest()


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_the_reference_vectors(size):
    expected = bytes.fromhex(ROOTS[size - 1])
    tree = Tree()
    for hash_ in HASHES[:size]:
        list(tree.add(hash_))
    assert root(nodes_of(HASHES), size) == fold(HASHES[:size]) == tree.root() == expected
    assert extend(LogState("gim/config/0"), LEAVES[:size])[2] == expected


def test_the_empty_tree_has_the_hash_of_nothing():
    assert root(nodes_of([]), 0) == EMPTY_ROOT == Tree().root() == LogState("gim/config/0").root()
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_proofs_are_those_of_the_example_tree_of_the_rfc():
    """RFC 6962 section 2.1.3: the tree of seven leaves d0 … d6, with inner nodes a … l."""
    a, b, c, d, e, f, j = HASHES[:7]
    g, h, i = node_hash(a, b), node_hash(c, d), node_hash(e, f)
    k, last = node_hash(g, h), node_hash(i, j)
    node = nodes_of(HASHES)
    assert inclusion_proof(node, 0, 7) == [b, h, last]
    assert inclusion_proof(node, 3, 7) == [c, g, last]
    assert inclusion_proof(node, 4, 7) == [f, j, k]
    assert inclusion_proof(node, 6, 7) == [i, k]
    assert consistency_proof(node, 3, 7) == [c, d, g, last]
    assert consistency_proof(node, 4, 7) == [last]
    assert consistency_proof(node, 6, 7) == [i, j, k]


sizes = st.integers(1, 70)


@given(st.data(), sizes)
def test_an_inclusion_proof_holds_for_its_leaf_and_no_other(data, size):
    leaves = [leaf_hash(bytes([n])) for n in range(size)]
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1))
    proof, expected = inclusion_proof(nodes_of(leaves), index, size), fold(leaves)
    assert check_inclusion(leaves[index], index, size, proof, expected)
    assert root_of(leaves[index], index, size, proof) == expected  # the verifier's own way
    assert check_inclusion(leaves[other], index, size, proof, expected) is (other == index)
    assert check_inclusion(leaves[index], other, size, proof, expected) is (other == index)
    assert not check_inclusion(leaves[index], index, size, [*proof, proof[-1] if proof else expected], expected)
    assert root_of(leaves[index], index, size, [*proof, expected]) != expected
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        wrong = [*proof[:at], bytes(32), *proof[at + 1 :]]
        assert not check_inclusion(leaves[index], index, size, wrong, expected)
        assert not check_inclusion(leaves[index], index, size, proof[:-1], expected)
        assert root_of(leaves[index], index, size, proof[:-1]) != expected
        assert root_of(leaves[index], index, size, wrong) != expected


@given(st.data(), sizes)
def test_a_consistency_proof_holds_for_a_prefix_and_nothing_else(data, second):
    leaves = [leaf_hash(bytes([n])) for n in range(second)]
    first = data.draw(st.integers(1, second))
    old, new = fold(leaves[:first]), fold(leaves)
    proof = consistency_proof(nodes_of(leaves), first, second)
    assert check_consistency(first, second, old, new, proof)
    forked = fold([*leaves[: first - 1], leaf_hash(b"forked")])
    assert not check_consistency(first, second, forked, new, proof)
    assert not check_consistency(first, second, old, forked, proof)
    for at in range(len(proof)):
        assert not check_consistency(first, second, old, new, [*proof[:at], bytes(32), *proof[at + 1 :]])
    assert not check_consistency(first, second, old, new, [*proof, bytes(32)])
    if proof:
        assert not check_consistency(first, second, old, new, proof[:-1])
    assert not check_consistency(0, second, old, new, proof)


def test_proofs_outside_the_tree_are_refused():
    node = nodes_of(HASHES)
    for index, size in ((8, 8), (-1, 8), (0, 0)):
        with pytest.raises(ValueError, match="not in a tree"):
            inclusion_proof(node, index, size)
        assert not check_inclusion(HASHES[0], index, size, [], HASHES[0])
    for first, second in ((0, 4), (5, 4)):
        with pytest.raises(ValueError, match="no consistency proof"):
            consistency_proof(node, first, second)


# --- tiles ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "path"),
    [
        (0, "000"),
        (67, "067"),
        (999, "999"),
        (1000, "x001/000"),
        (1234067, "x001/x234/067"),
        (10**9, "x001/x000/x000/000"),
    ],
)
def test_paths_are_those_of_the_tiles_specification(index, path):
    assert tile_path(0, index) == f"tile/0/{path}"
    assert tile_path(3, index, 5) == f"tile/3/{path}.p/5"
    assert bundle_path(index, 255) == f"tile/entries/{path}.p/255"
    assert index_path(index) == path  # the verifier's own


def grown(entries: list[bytes], cuts: list[int]) -> tuple[LogState, dict[str, bytes]]:
    state, files = LogState("gim/verdicts/0"), {}
    for start, end in zip([0, *cuts], [*cuts, len(entries)], strict=True):
        state, written, _ = extend(state, entries[start:end])
        files.update(written)
    return state, files


def needed(files: dict[str, bytes], size: int) -> dict[str, bytes]:
    """Full files, and the partial ones of this size."""
    partial = {tile_path(level, (size >> 8 * level) // 256, (size >> 8 * level) % 256) for level in range(3)}
    partial.add(bundle_path(size // 256, size % 256))
    return {
        path: data
        for path, data in files.items()
        if ".p/" not in path or path.removeprefix("gim/verdicts/0/") in partial
    }


@settings(deadline=None, max_examples=40)
@given(st.data(), st.integers(0, 1100))
def test_extending_in_any_split_gives_the_same_log(data, size):
    entries = [n.to_bytes(2, "big") * (n % 5) for n in range(size)]
    cuts = sorted(data.draw(st.lists(st.integers(0, size), max_size=6)))
    whole, files = grown(entries, [])
    split, parts = grown(entries, cuts)
    assert split == whole
    assert needed(parts, size) == files
    assert whole.root() == fold([leaf_hash(entry) for entry in entries])
    if size < 300:
        assert whole.root() == rfc6962_root(entries)


@settings(deadline=None, max_examples=40)
@given(st.data(), st.integers(1, 1100))
def test_a_stored_log_is_loaded_as_it_was(data, size):
    """At its own size, and at each size it had, after the store dropped the partial files of what is full now."""
    entries = [str(n).encode() for n in range(size)]
    cuts = sorted(data.draw(st.lists(st.integers(1, size), max_size=4)))
    state, files = grown(entries, cuts)
    files = {path: data for path, data in files.items() if path.split(".p/")[0] not in files or ".p/" not in path}

    def read(path: str) -> bytes:
        if path not in files:
            raise FileNotFoundError(path)
        return files[path]

    assert extend(load(read, "gim/verdicts/0", size), [b"next"]) == extend(state, [b"next"])
    for cut in cuts:
        assert load(read, "gim/verdicts/0", cut).root() == fold([leaf_hash(entry) for entry in entries[:cut]])


def test_a_tile_of_the_second_level_is_full_after_65536_leaves():
    state, files, top = extend(LogState("gim/config/0"), [b"x"] * 65_536 + [b"y"])
    assert len(files["gim/config/0/tile/1/000"]) == 8192
    assert len(files["gim/config/0/tile/2/000.p/1"]) == 32
    assert files["gim/config/0/tile/entries/256.p/1"] == b"\0\1y"
    assert node_hash(files["gim/config/0/tile/2/000.p/1"], leaf_hash(b"y")) == top == state.root()
    assert sum(len(tile) for tile in state.tiles) == 64  # the state stays small


def test_proofs_come_from_stored_tiles():
    entries = [str(n).encode() for n in range(700)]
    state, files = grown(entries, [300, 512])
    node = stored_nodes(files.__getitem__, "gim/verdicts/0", 700)
    leaves = [leaf_hash(entry) for entry in entries]
    for index in (0, 255, 256, 511, 699):
        proof = inclusion_proof(node, index, 700)
        assert proof == inclusion_proof(nodes_of(leaves), index, 700)
        assert check_inclusion(leaves[index], index, 700, proof, state.root())
    proof = consistency_proof(node, 300, 700)
    assert check_consistency(300, 700, fold(leaves[:300]), state.root(), proof)
    assert stored_bundle(files.__getitem__, "gim/verdicts/0", 2, 700) == entries[512:]


def test_loading_a_damaged_log_is_refused():
    _, files = grown([b"a", b"b", b"c"], [])

    def read(path: str) -> bytes:
        if path not in files:
            raise FileNotFoundError(path)
        return files[path]

    bundle, tile = "gim/verdicts/0/tile/entries/000.p/3", "gim/verdicts/0/tile/0/000.p/3"
    good = dict(files)
    for path, data, message in (
        (bundle, good[bundle][:-1] + b"x", "do not hash to the stored tile"),
        (bundle, good[bundle][:-1], "within entry 2"),
        (bundle, good[bundle][:6], "too short"),
        (tile, good[tile][:-1], "too short"),
        (tile, None, "missing"),
    ):
        files = (
            {**good, path: data} if data is not None else {name: data for name, data in good.items() if name != path}
        )
        with pytest.raises(Inconsistent, match=message):
            load(read, "gim/verdicts/0", 3)


def test_an_entry_beyond_the_limit_of_a_bundle_is_refused():
    with pytest.raises(Inconsistent, match="65,535"):
        extend(LogState("gim/config/0"), [b"x" * 65_536])
    _, files, _ = extend(LogState("gim/config/0"), [b"x" * 65_535, b""])
    assert [len(entry) for entry in split_bundle(files["gim/config/0/tile/entries/000.p/2"])] == [65_535, 0]
