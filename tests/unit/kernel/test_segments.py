"""lab/kernel/segments.py: what a reset is made of."""

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from lab.flow import Reset
from lab.kernel import segments


def test_a_reset_is_a_whole_frame_with_sums_that_are_right() -> None:
    frame = segments.packet(Reset(0x28010101, 80, 0xC6336414, 40000, 0xFFFFFFFE, 7))
    packet = Ether(frame)
    assert (packet.src, packet.dst, packet.type) == ("12:34:56:78:9a:bc", "12:34:56:78:9a:bc", 0x0800)
    said = packet[IP].src, packet[TCP].sport, packet[IP].dst, packet[TCP].dport, packet[TCP].seq, packet[TCP].ack
    assert said == ("40.1.1.1", 80, "198.51.100.20", 40000, 0xFFFFFFFE, 7)
    assert str(packet[TCP].flags) == "RA"
    again = packet.copy()
    del again[IP].chksum, again[TCP].chksum, again[IP].len
    assert bytes(again) == frame
