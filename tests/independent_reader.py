#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""independent_reader.py STORE [BUCKET] - print what `kvlog [--bucket=BUCKET] dump STORE` prints.

A second opinion on the format: written from kvlog-format(5), sharing no code with the library.
Reads a store that nobody writes to; ignores hint files and the control page.
Exit status: 0; 2 wrong usage, no store or another format; 3 damage, described on standard error.
"""
import collections, os, re, struct, sys, time
MORE, BUCKET, EXPIRY, CODEC, CONT = 1, 2, 4, 8, 32
PUT, DELETE, MARK = 1, 2, 3
DEFAULT, CATALOGUE = struct.pack("<QI", 0, 0), struct.pack("<QI", 0, 1)
NONZERO = re.compile(rb"[^\0]")
damage = []

# A piece of the log.  kind: record, output (a record of one), link, sealed (end of an output) or
# bad.  n: where the log can go on, as kvlog-format(5) has it; None: not here.  value: None if bad.
Piece = collections.namedtuple("Piece", "kind place n seq type flags key value expiry "
                               "bucket", defaults=[0, 0, 0, b"", b"", None, DEFAULT])

def fail(text):
    sys.exit(print("ERROR: " + text, file=sys.stderr) or 2)

T = range(1 << 16)                      # CRC-32C of two bytes
for _ in range(16):
    T = [r >> 1 ^ (0x82F63B78 if r & 1 else 0) for r in T]

def update(reg, data):
    for word in struct.unpack_from("<%dH" % (len(data) // 2), data):
        reg = T[(reg ^ word) & 0xFFFF] ^ reg >> 16
    return T[((reg ^ data[-1]) & 0xFF) << 8] ^ reg >> 8 if len(data) % 2 else reg   # the odd byte

def crc(data, reg=0xFFFFFFFF):
    return update(reg, data) ^ 0xFFFFFFFF
def u32(data, off):
    return int.from_bytes(data[off:off + 4], "little")

class File:
    """A segment file.  ok: a fixed part is readable and fits the name.  attested: by its parts."""
    def __init__(self, store, name, ident):
        with open(os.path.join(store, name), "rb") as f:
            self.data = f.read()
        self.name, self.last, self.ok, self.read = name, ident[1], False, 0
        good = [b for b in (self.data[:512], self.data[4096:4608])
                if len(b) == 512 and b[:8] == b"kvlogseg" and crc(b[12:]) == u32(b, 8)]
        if not good:
            return damage.append(name + ": no readable header")
        fmt, _, features, self.kind = struct.unpack_from("<HHII", good[0], 12)
        if fmt != 1 or features & 0xFFFF or self.kind > 2:
            fail(name + ": written by another version")
        self.ok = struct.unpack_from("<IIIHH", good[0], 40) == ident
        (self.size, self.salt, self.set_id, self.end, self.last_salt, _, self.last_seq,
         self.now) = struct.unpack_from("<8Q", good[0], 56)
        self.uuid, salt, link = good[0][24:40], good[0][64:72], self.data[512:576].ljust(64)
        self.salt_sum = crc(salt)
        self.linked = crc(link[4:], update(0xFFFFFFFF, salt)) == u32(link, 0)
        flags, self.prev_salt, self.prev_end, self.prev_seq, self.first_seq = struct.unpack_from(
            "<IQQQQ", link, 4)
        self.attested = self.prev_seq if self.linked and flags & 1 else 0

    def record(self, off, limit):
        """The offset behind the record at off, and the record; None if none is there."""
        d, room = self.data, min(limit, len(self.data)) - off
        if room < 28:
            return None
        typ, flags, key_len, value_len, seq, lag = struct.unpack_from("<BBHIQI", d, off + 8)
        ext = off + 28 + (flags & BUCKET) * 6
        key = ext + (flags & EXPIRY) * 2 + (flags & CODEC)
        value, end = key + key_len, key + key_len + value_len
        seed = self.salt_sum ^ (off // 8 & 0xFFFFFFFF)
        size, sane = (end - off + 7) & ~7, typ != 0 and (typ == MARK) == (key_len == 0)
        if not sane or size > room or crc(d[off + 4:value], seed) != u32(d, off):
            return None
        if 3 < typ < 0x80:
            fail("%s, offset %d: type of a newer version" % (self.name, off))
        self.read = off + size          # up to here, but for what is bad before
        known = 0 if lag == 0xFFFFFFFF else seq - lag
        self.attested = max(self.attested, known, (seq >> 40 << 40) - 1)
        return off + size, Piece(
            "output" if self.kind else "record", "%s, offset %d" % (self.name, off),
            0 if self.kind else seq + (typ == MARK or flags & CONT != 0), seq, typ, flags,
            d[key:value], d[value:end] if crc(d[value:end], seed) == u32(d, off + 4) else None,
            struct.unpack_from("<Q", d, ext)[0] if flags & EXPIRY else None,
            d[off + 28:off + 40] if flags & BUCKET else DEFAULT)
    def pieces(self, limit, sealed):
        off, bad = 4608, False
        while off < limit:
            end, piece = self.record(off, limit) or (
                off + 8, Piece("bad", "%s, offset %d" % (self.name, off), None))
            used = NONZERO.search(self.data, off)
            if piece.n is None and not (used or sealed or bad) and len(self.data) >= limit:
                return                  # the clean end
            if piece.n is not None or not bad:
                yield piece
            bad = piece.n is None
            off = max(end, (used.start() - 8) & ~7 if used else limit)

def tiling(store):
    """Live sets of parts in order; a number in place of missing segments."""
    sets, at, live = {}, 1, []
    for name in os.listdir(store):
        m = re.fullmatch(
            r"(\d{8,9})(?:-(\d{8,9})\.r([1-9]\d*)\.([1-9]\d*)of([1-9]\d*))?\.seg", name)
        if m and all(x is None or x == "%08d" % int(x) for x in m.group(1, 2)):
            ident = tuple(int(x or y) for x, y in zip(m.groups(), (0, m[1], 0, 1, 1)))
            sets.setdefault(ident[:3], {})[ident[3:]] = File(store, name, ident)
    for key, parts in list(sets.items()):
        count = max(parts)[1]
        sets[key] = [parts[x] for x in sorted(parts)]
        if sorted(parts) != [(i + 1, count) for i in range(count)] or not all(
                f.ok and f.set_id == sets[key][0].set_id for f in sets[key]):
            del sets[key]               # not complete
    while any(key[0] >= at for key in sets):
        best = max((key for key in sets if key[0] == at), default=None)
        live.append(sets[best] if best else at)
        at = best[1] + 1 if best else min(key[0] for key in sets if key[0] > at)
    return live

def read_log(live):
    before = 0                          # salt that the link must name
    for files, after in zip(live, live[1:] + [0]):
        if isinstance(files, int):
            before = None
            yield Piece("bad", "segment %d: missing" % files, None)
            continue
        f = files[0]
        if f.linked and before not in (None, f.prev_salt):
            damage.append(f.name + ": not of this history")
        n = f.prev_seq + 1 if f.linked else None
        yield Piece("link" if f.linked else "bad", f.name + ": link", n, f.prev_seq, f.first_seq)
        before = f.last_salt if f.kind else f.salt
        sealed = isinstance(after, list) and after[0].linked and after[0].prev_salt == before
        for f in files:
            yield from f.pieces(f.end if f.kind else after[0].prev_end if sealed else f.size,
                                sealed or f.kind)
        if f.kind:
            f.attested = max(f.attested, f.last_seq)
            yield Piece("sealed", f.name, f.last_seq + 1, f.last_seq)

def replay(log, top):
    """The last piece of each key.  top: the greatest number attested durable."""
    data, pending, last, due, cut, i = {}, [], 0, 1, None, 0
    def apply(pieces):
        for p in pieces:
            if p.type in (PUT, DELETE):
                data[p.bucket, p.key] = p
            if p.value is None or p.flags & CODEC:
                damage.append(p.place + ": value")
    log.append(Piece("bad", "the end of the log", None))
    while i < len(log):
        p = log[i]
        more = p.kind == "record" and p.type != MARK
        if p.kind == "output" or more and p.flags & CONT and p.seq == cut:
            apply([p])
        elif p.kind == "sealed":
            last, due = p.seq, p.seq + 1
        elif p.n is not None and not more and not pending and p.seq == last:
            due = p.type if p.kind == "link" else due       # a link or a mark
        elif (more and p.seq == due and bool(p.flags & CONT) == bool(pending) and
              (p.value is not None or p.seq <= top)):
            pending.append(p)
            if not p.flags & MORE:
                apply(pending)
                pending, last, due = [], due, due + 1
        elif top <= last:
            return data                 # the end, clean or torn
        else:                           # damage: go on behind it, if possible
            damage.append(p.place)
            apply(pending)
            while i < len(log) and (log[i].n is None or
                                    log[i].kind == "record" and log[i].type == MARK):
                i += 1
            if i == len(log) or top < log[i].n - 1:
                return data             # the end of the log, or what is left of it
            pending, last, due, cut = [], log[i].n - 1, log[i].n, log[i].n - 1
            continue
        i += 1

def escaped(raw):
    short = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"}
    return re.sub("[\\\\\0-\x1f\x7f-\x9f\udc80-\udcff]", lambda m: short.get(m[0]) or "".join(
        "\\x%02x" % b for b in m[0].encode("utf-8", "surrogateescape")),
                  raw.decode("utf-8", "surrogateescape"))

def main(store, name=None):
    live = tiling(store) if os.path.isdir(store) else []
    files = [f for part in live if isinstance(part, list) for f in part]
    if len({f.uuid for f in files}) != 1:
        fail("no readable store at %s, or files of several" % store)
    log, path = list(read_log(live)), os.path.join(store, "kvlog.lock")
    with open(path if os.path.exists(path) else os.devnull, "rb") as f:
        note = f.read()[4096:4160]
    good = note[:8] == b"kvlogend" and crc(note[12:]) == u32(note, 8)
    end = int.from_bytes(note[56:], "little") if good and note[16:32] == files[0].uuid else 0
    segment, salt, place = struct.unpack_from("<I4xQQ", note, 32) if end else (0, 0, 0)
    data = replay(log, max([end] + [f.attested for f in files]))
    if segment > max(f.last for f in files) or any(
            f.last == segment and not f.kind and (f.salt != salt or f.read < place) for f in files):
        damage.append("segment %d: ends before the end note's place" % segment)
    now = max([int(time.time() * 1000)] + [f.now for f in files])
    bucket = DEFAULT
    if name is not None:
        entry = data.get((CATALOGUE, os.fsencode(name)))
        if entry is None or entry.type != PUT or entry.value is None:
            fail("no bucket " + name)
        bucket = entry.value
    for (of, key), p in sorted(data.items()):
        if (of == bucket and p.type == PUT and p.value is not None and not p.flags & CODEC and
                (p.expiry is None or now < p.expiry)):
            sys.stdout.buffer.write((escaped(key) + "\t" + escaped(p.value) + "\n").encode())
    print("".join("damaged: %s\n" % text for text in damage), end="", file=sys.stderr)
    return 3 if damage else 0

sys.exit(main(*sys.argv[1:]) if len(sys.argv) in (2, 3) else
         fail("usage: independent_reader.py STORE [BUCKET]"))
