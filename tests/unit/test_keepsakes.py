"""What is kept of a paid answer in the object store."""

from __future__ import annotations

from decimal import Decimal

from imagegen.keepsakes import Keepsake


def test_bytes_and_price_come_back_together() -> None:
    """Bytes, exact price and usage survive the store, whatever the bytes are."""
    kept = Keepsake(data=b'\n{"actual"\n\x89PNG\n', actual=Decimal("0.050418"), usage={"totalTokenCount": 1520})
    assert Keepsake.unpacked(kept.packed()) == kept


def test_bytes_alone_have_no_price() -> None:
    """Objects with nothing but the bytes are read as they are."""
    assert Keepsake.unpacked(b"\x89PNG\nrest") == Keepsake(data=b"\x89PNG\nrest")


def test_an_order_s_number_comes_back() -> None:
    """What the provider took instead of answering with bytes, with the price that it told."""
    kept = Keepsake(order="task-1", actual=Decimal("0.02"))
    assert Keepsake.unpacked(kept.packed()) == kept
