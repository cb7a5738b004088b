"""Standard output that breaks, process groups, and SIGTERM to a gRPC server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import unittest
from typing import Tuple

import leash
from scene import CLIENT, PATIENCE, PRELUDE, Scene, environment, receiver

try:
    import grpc
except ImportError:
    grpc = None

PRINT = "while True: print('line')\n"

SERVER = """
import grpc
from concurrent.futures import ThreadPoolExecutor
def hold(request, _context):
    say("HOLDING")
    os.read(0, 1)
    return b"done"
one = leash.Heartbeat()
server = grpc.server(ThreadPoolExecutor(2))
"""
AIO_SERVER = """
import asyncio, grpc
async def hold(request, _context):
    say("HOLDING")
    await asyncio.get_running_loop().run_in_executor(None, os.read, 0, 1)
    return b"done"
one = leash.Heartbeat()
async def main():
    server = grpc.aio.server()
"""
SERVE = """
handler = grpc.method_handlers_generic_handler("t.T", {"Hold": grpc.unary_unary_rpc_method_handler(hold)})
server.add_generic_rpc_handlers((handler,))
port = server.add_insecure_port("127.0.0.1:0")
AWAIT server.start()
leash.drain_on_term(server, deadline=DEADLINE, heartbeat=one)
say("PORT", port)
AWAIT server.wait_for_termination()
say("DRAINED")
"""


def server_code(aio: bool, deadline: float) -> str:
    """The same server of both kinds."""
    tail = SERVE.replace("DEADLINE", str(deadline)).replace("AWAIT ", "await " if aio else "")
    if not aio:
        return PRELUDE + SERVER + tail
    return PRELUDE + AIO_SERVER + "".join(f"    {line}\n" for line in tail.splitlines()) + "asyncio.run(main())\n"


class Output(unittest.TestCase):
    """quiet_output()."""

    def broken(self, code: str, *flags: str) -> Tuple[int, str]:
        """Run code with a standard output that no process reads."""
        reader, writer = os.pipe()
        os.close(reader)
        command = [sys.executable, *flags, "-c", PRELUDE + code]
        run = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=environment(PYTHONUNBUFFERED=""), check=False)
        os.close(writer)
        return run.returncode, run.stderr.decode()

    def test_no_traceback(self) -> None:
        for flags in ((), ("-u",)):
            for code in (
                "with leash.quiet_output():\n    " + PRINT,
                "with leash.quiet_output(): print('once')\n",
                "@leash.quiet_output()\ndef main():\n    " + PRINT + "main()\n",
            ):
                self.assertEqual(self.broken(code, *flags), (0, ""), (flags, code))

    def test_without_it(self) -> None:
        status, text = self.broken(PRINT)
        self.assertEqual(status, 1)
        self.assertIn("BrokenPipeError", text)

    def test_own_status_stays(self) -> None:
        self.assertEqual(self.broken("with leash.quiet_output(): print('x'); sys.exit(3)\n"), (3, ""))

    def test_other_broken_pipes_are_raised(self) -> None:
        code = "with leash.quiet_output():\n    r, w = os.pipe(); os.close(r); os.write(w, b'x')\n"
        run = subprocess.run([sys.executable, "-c", PRELUDE + code], capture_output=True, env=environment(), check=False)
        self.assertEqual(run.returncode, 1)
        self.assertIn(b"BrokenPipeError", run.stderr)

    def test_other_errors_are_raised(self) -> None:
        status, text = self.broken("with leash.quiet_output(): print('x'); 1 / 0\n")
        self.assertEqual((status, text.count("Error")), (1, 1), text)

    def test_all_is_well(self) -> None:
        code = "with leash.quiet_output(): print('x')\nprint('y')\n"
        run = subprocess.run([sys.executable, "-c", PRELUDE + code], capture_output=True, env=environment(), check=True)
        self.assertEqual((run.stdout, run.stderr), (b"x\ny\n", b""))

    def test_standard_output_closed(self) -> None:
        script = 'exec "$0" -c "$1" >&-'
        code = PRELUDE + "with leash.quiet_output(): pass\n"
        run = subprocess.run(["sh", "-c", script, sys.executable, code], capture_output=True, env=environment(), check=False)
        self.assertEqual((run.returncode, run.stderr), (0, b""))


class Group(Scene):
    """own_group()."""

    def test_leads_and_leads_again(self) -> None:
        code = "say('GROUP', leash.own_group(), leash.own_group(), os.getpgrp() == os.getpid())\n"
        for before in ("", "os.setsid()\n"):
            self.start(sys.executable, "-c", PRELUDE + before + code)
            self.assertEqual(self.output.line("GROUP "), "True True True")


class Drain(Scene):
    """drain_on_term() with real servers and real calls."""

    def setUp(self) -> None:
        super().setUp()
        if grpc is None:
            self.skipTest("this Python has no grpc")

    def served(self, aio: bool, deadline: float, release: bool) -> None:
        """SIGTERM in the midst of a call, which is let go on afterwards or never."""
        reader, writer = os.pipe()
        with receiver() as there:
            command = [sys.executable, "-c", server_code(aio, deadline)]
            server = self.start(*command, stdin=reader, NOTIFY_SOCKET=there.name)
            os.close(reader)
            channel = grpc.insecure_channel("127.0.0.1:" + self.output.line("PORT "))
            call = channel.unary_unary("/t.T/Hold").future(b"", timeout=PATIENCE)
            self.output.line("HOLDING")
            os.kill(server, signal.SIGTERM)
            self.assertEqual(there.receive(), "STOPPING=1")
            if release:
                os.write(writer, b"x")
                self.assertEqual(call.result(), b"done")
            else:
                self.assertIsNotNone(call.exception())
            self.output.line("DRAINED")
            os.close(writer)  # Python waits for the thread of the call
            self.assertEqual(self.reap(server), 0)
            channel.close()

    def test_call_is_finished(self) -> None:
        self.served(aio=False, deadline=1000, release=True)

    def test_call_is_finished_aio(self) -> None:
        self.served(aio=True, deadline=1000, release=True)

    def test_deadline(self) -> None:
        self.served(aio=False, deadline=0.1, release=False)

    def test_deadline_aio(self) -> None:
        self.served(aio=True, deadline=0.1, release=False)


class Calls(unittest.TestCase):
    """Wrong calls."""

    def test_wrong_arguments(self) -> None:
        with self.assertRaisesRegex(ValueError, "server"):
            leash.drain_on_term(None)
        with self.assertRaisesRegex(ValueError, "deadline"):
            leash.drain_on_term(self, deadline=-1)

    def test_aio_server_without_its_loop(self) -> None:
        class Server:
            """Like grpc.aio's."""

            async def stop(self, grace: float) -> None:
                """Nothing."""

        with self.assertLogs("leash", "ERROR"):
            leash.drain_on_term(Server())


class Install(Scene):
    """pip, without any network."""

    def test_pip_install(self) -> None:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            venv = subprocess.run([sys.executable, "-m", "venv", folder], capture_output=True, check=False)
            if venv.returncode:
                self.skipTest("this Python cannot make a venv")
            env = environment(PIP_NO_INDEX="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
            del env["PYTHONPATH"]
            env.pop("PIP_FIND_LINKS", None)
            python = f"{folder}/bin/python"
            subprocess.run([python, "-m", "pip", "install", "-q", str(CLIENT)], env=env, check=True)
            code = "import leash, os; print(leash.__file__); print(os.listdir(os.path.dirname(leash.__file__)))"
            out = subprocess.run([python, "-c", code], env=env, cwd="/", stdout=subprocess.PIPE, check=True).stdout.decode()
            self.assertIn(folder, out)
            self.assertIn("py.typed", out)


if __name__ == "__main__":
    unittest.main()
