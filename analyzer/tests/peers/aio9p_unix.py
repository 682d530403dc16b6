"""Writes 9p2000u-aio9p.json, beside this file: what aio9p 0.3.3 makes of the fields
that only 9P2000.u has.

    python3 -m venv peer && peer/bin/pip install aio9p==0.3.3
    peer/bin/python aio9p_unix.py

Replies are written by aio9p. It is a server, so requests it only reads: those are made
here, of random values, and what it reads of them is what is kept. The values are random,
by a seed, so that the file comes out the same again.
"""

import asyncio
import importlib
import json
import pathlib
import random

from aio9p import constant
from aio9p.stat import Py9P2000uStat

EACH = 40
random = random.Random(20001)
# The package calls a class of it by the module's name.
unix = importlib.import_module("aio9p.dialect.Py9P2000u")


def number(size):
    return random.choice([0, 1, (1 << 8 * size) - 1, random.getrandbits(8 * size)])


def text():
    length = random.choice([0, 1, random.randrange(40), random.randrange(400)])
    return bytes(random.randrange(1, 256) for _ in range(length))


def little(value, size):
    return value.to_bytes(size, "little")


def string(value):
    return little(len(value), 2) + value


def message(kind, body):
    return little(7 + len(body), 4) + little(kind, 1) + little(number(2), 2) + body


def stat():
    return Py9P2000uStat(
        p9type=number(2), p9dev=number(4), p9qid=little(number(1), 1) + random.randbytes(12),
        p9mode=number(4), p9atime=number(4), p9mtime=number(4), p9length=number(8),
        p9name=text(), p9uid=text(), p9gid=text(), p9muid=text(), p9u_extension=text(),
        p9u_n_uid=number(4), p9u_n_gid=number(4), p9u_n_muid=number(4),
    )


def of_stat(it):
    return {
        "extension": it.p9u_extension.hex(),
        "n_uid": it.p9u_n_uid, "n_gid": it.p9u_n_gid, "n_muid": it.p9u_n_muid,
        "name": it.p9name.hex(), "muid": it.p9muid.hex(), "length": it.p9length,
    }


def read(parse, body, result):
    """What aio9p gives to who implements the operation."""
    given = []

    async def operation(*arguments):
        given.extend(arguments)
        return result

    asyncio.run(parse(operation, body))
    return given


def written(answer):
    kind, _, fields = answer
    return kind, b"".join(fields)


QID = bytes(13)
messages = []


def keep(name, kind, body, fields):
    messages.append({"kind": name, "bytes": message(kind, body).hex(), "fields": fields})


for _ in range(EACH):
    ename, errno = text(), number(4)
    keep("Rerror", *written(unix.p9u_error(ename, errno)), {"ename": ename.hex(), "errno": errno})

    body = little(number(4), 4) + string(text()) + string(text()) + little(number(4), 4)
    _, uname, aname, n_uname = read(unix.p9u_auth, body, QID)
    keep("Tauth", constant.TAUTH, body,
         {"uname": uname.hex(), "aname": aname.hex(), "n_uname": n_uname})

    body = little(number(4), 4) + string(text()) + little(number(4), 4) + little(number(1), 1)
    body += string(text())
    _, name, perm, mode, extension = read(unix.p9u_create, body, (QID, 0))
    keep("Tcreate", constant.TCREATE, body,
         {"name": name.hex(), "perm": perm, "mode": mode, "extension": extension.hex()})

    it = stat()
    kind, _, fields = asyncio.run(unix.p9u_stat(lambda _: asyncio.sleep(0, it), bytes(4)))
    keep("Rstat", kind, b"".join(fields), of_stat(it))

    body = little(number(4), 4) + stat().to_bytes(with_envelope=True)
    _, got = read(unix.p9u_wstat, body, None)
    keep("Twstat", constant.TWSTAT, body, of_stat(got))

out = pathlib.Path(__file__).with_name("9p2000u-aio9p.json")
out.write_text(json.dumps(messages, indent=0) + "\n")
