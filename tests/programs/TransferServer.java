import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.channel.Channel;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.DefaultFileRegion;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.handler.stream.ChunkedNioFile;
import io.netty.handler.stream.ChunkedWriteHandler;
import java.io.EOFException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/**
 * Serves files over HTTP in the ways that Java programs have: read and write, transferTo, Netty's
 * file regions and chunks; and keeps a log as Kafka does, appended to through a mapping or by write.
 * One connection and one request at a time. Standard output tells the two ports.
 */
public final class TransferServer {
    private static final int BUFFER = 64 * 1024;

    private final Path directory;
    private final ByteBuffer buffer = ByteBuffer.allocateDirect(BUFFER);

    private TransferServer(Path directory) {
        this.directory = directory;
    }

    public static void main(String[] arguments) throws Exception {
        TransferServer server = new TransferServer(Path.of(arguments[0]));
        InetSocketAddress any = new InetSocketAddress(InetAddress.getLoopbackAddress(), 0);
        ServerSocketChannel listener = ServerSocketChannel.open().bind(any);
        Channel netty = server.startNetty(any);
        int plainPort = ((InetSocketAddress) listener.getLocalAddress()).getPort();
        int nettyPort = ((InetSocketAddress) netty.localAddress()).getPort();
        System.out.println("ports " + plainPort + " " + nettyPort);
        while (true) {
            try (SocketChannel client = listener.accept()) {
                server.answer(client);
            } catch (IOException error) {
                System.err.println(error);
            }
        }
    }

    private static byte[] head(long length) {
        String text = "HTTP/1.0 200 OK\r\nContent-Length: " + length + "\r\n\r\n";
        return text.getBytes(StandardCharsets.US_ASCII);
    }

    /** A request's lines up to the blank one. What was received behind it stays in the buffer. */
    private String[] request(SocketChannel client) throws IOException {
        StringBuilder text = new StringBuilder();
        buffer.clear().limit(0);
        while (text.length() < 4 || !text.substring(text.length() - 4).equals("\r\n\r\n")) {
            if (!buffer.hasRemaining()) {
                buffer.clear();
                if (client.read(buffer) < 0) {
                    throw new EOFException("no request");
                }
                buffer.flip();
            }
            text.append((char) buffer.get());
        }
        return text.toString().split("\r\n");
    }

    private void answer(SocketChannel client) throws IOException {
        String[] lines = request(client);
        String[] words = lines[0].split("[ /]+");
        long length = 0;
        for (String line : lines) {
            if (line.toLowerCase().startsWith("content-length:")) {
                length = Long.parseLong(line.substring(15).trim());
            }
        }
        Path file = directory.resolve(words[2]);
        switch (words[1]) {
            case "stream" -> stream(client, file);
            case "transfer" -> transfer(client, file);
            case "mapped" -> appendMapped(client, file, length);
            case "written" -> appendWritten(client, file, length);
            default -> throw new IOException("no way called " + words[1]);
        }
    }

    private static void writeAll(SocketChannel client, ByteBuffer bytes) throws IOException {
        while (bytes.hasRemaining()) {
            client.write(bytes);
        }
    }

    private void stream(SocketChannel client, Path path) throws IOException {
        try (FileChannel file = FileChannel.open(path)) {
            writeAll(client, ByteBuffer.wrap(head(file.size())));
            buffer.clear();
            while (file.read(buffer) >= 0) {
                writeAll(client, buffer.flip());
                buffer.clear();
            }
        }
    }

    private void transfer(SocketChannel client, Path path) throws IOException {
        try (FileChannel file = FileChannel.open(path)) {
            long size = file.size();
            writeAll(client, ByteBuffer.wrap(head(size)));
            for (long at = 0; at < size; ) {
                at += file.transferTo(at, size - at, client);
            }
        }
    }

    /** The producer of a log whose segment is mapped: stores, no system call. */
    private void appendMapped(SocketChannel client, Path path, long length) throws IOException {
        try (FileChannel file = FileChannel.open(path, StandardOpenOption.READ, StandardOpenOption.WRITE,
                StandardOpenOption.CREATE, StandardOpenOption.TRUNCATE_EXISTING)) {
            MappedByteBuffer log = file.map(FileChannel.MapMode.READ_WRITE, 0, length);
            receive(client, length, log::put);
            writeAll(client, ByteBuffer.wrap(head(0)));
        }
    }

    private void appendWritten(SocketChannel client, Path path, long length) throws IOException {
        try (FileChannel file = FileChannel.open(path, StandardOpenOption.WRITE, StandardOpenOption.CREATE,
                StandardOpenOption.TRUNCATE_EXISTING)) {
            receive(client, length, bytes -> {
                while (bytes.hasRemaining()) {
                    file.write(bytes);
                }
            });
            writeAll(client, ByteBuffer.wrap(head(0)));
        }
    }

    private interface Sink {
        void take(ByteBuffer bytes) throws IOException;
    }

    /** A request's body, whose beginning may lie in the buffer. */
    private void receive(SocketChannel client, long length, Sink sink) throws IOException {
        long left = length - buffer.remaining();
        sink.take(buffer);
        while (left > 0) {
            buffer.clear().limit((int) Math.min(BUFFER, left));
            if (client.read(buffer) < 0) {
                throw new EOFException(left + " bytes are missing");
            }
            buffer.flip();
            left -= buffer.remaining();
            sink.take(buffer);
        }
    }

    private Channel startNetty(InetSocketAddress address) throws InterruptedException {
        NioEventLoopGroup group = new NioEventLoopGroup(1);
        return new ServerBootstrap()
            .group(group)
            .channel(NioServerSocketChannel.class)
            .childHandler(new ChannelInitializer<io.netty.channel.socket.SocketChannel>() {
                @Override
                protected void initChannel(io.netty.channel.socket.SocketChannel client) {
                    client.pipeline().addLast(new ChunkedWriteHandler(), new NettyAnswer());
                }
            })
            .bind(address).sync().channel();
    }

    /** Small GET requests arrive in one piece. */
    private final class NettyAnswer extends SimpleChannelInboundHandler<ByteBuf> {
        @Override
        protected void channelRead0(ChannelHandlerContext context, ByteBuf message) throws IOException {
            String[] words = message.toString(StandardCharsets.US_ASCII).split("[ /]+");
            FileChannel file = FileChannel.open(directory.resolve(words[2]));
            long size = file.size();
            context.write(context.alloc().buffer().writeBytes(head(size)));
            Object body = words[1].equals("region")
                ? new DefaultFileRegion(file, 0, size)
                : new ChunkedNioFile(file, BUFFER);
            context.writeAndFlush(body).addListener(ChannelFutureListener.CLOSE);
        }
    }
}
