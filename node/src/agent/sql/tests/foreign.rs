//! A replication client that says of itself what it likes: no library of ours would.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PROTOCOL_41: u32 = 0x200;
const SECURE_CONNECTION: u32 = 0x8000;
const PLUGIN_AUTH: u32 = 0x8_0000;
const QUERY: u8 = 3;
const BINLOG_DUMP: u8 = 18;

pub struct Foreign(TcpStream);

impl Foreign {
    /// With an account that has no password.
    pub async fn enter(port: u16, user: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut foreign = Self(stream);
        foreign.hear().await;
        let flags = PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH;
        let mut hello = flags.to_le_bytes().to_vec();
        hello.extend(0x0100_0000_u32.to_le_bytes());
        hello.push(45);
        hello.extend([0; 23]);
        hello.extend(user.bytes().chain([0, 0]));
        hello.extend(b"caching_sha2_password\0");
        foreign.tell(1, &hello).await;
        assert_eq!(foreign.hear().await.first(), Some(&0), "it is let in");
        foreign
    }

    pub async fn says(&mut self, sql: &str) {
        let packet: Vec<u8> = [QUERY].into_iter().chain(sql.bytes()).collect();
        self.tell(0, &packet).await;
        assert_eq!(self.hear().await.first(), Some(&0), "{sql}");
    }

    /// From the first binary log on; what comes is not read.
    pub async fn dumps(&mut self, server_id: u32) {
        let mut packet = vec![BINLOG_DUMP];
        packet.extend(4_u32.to_le_bytes());
        packet.extend(0_u16.to_le_bytes());
        packet.extend(server_id.to_le_bytes());
        self.tell(0, &packet).await;
    }

    async fn tell(&mut self, number: u8, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        let mut packet = vec![length[0], length[1], length[2], number];
        packet.extend(payload);
        self.0.write_all(&packet).await.unwrap();
    }

    async fn hear(&mut self) -> Vec<u8> {
        let mut head = [0; 4];
        self.0.read_exact(&mut head).await.unwrap();
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload).await.unwrap();
        payload
    }
}
