"""A datagram socket as systemd has it: prints each message that comes, a line each, newlines in it as spaces."""
import socket
import sys

server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
path = sys.argv[1]
server.bind("\0" + path[1:] if path.startswith("@") else path)
print("listening", flush=True)
while True:
    print(server.recv(4096).decode().replace("\n", " "), flush=True)
