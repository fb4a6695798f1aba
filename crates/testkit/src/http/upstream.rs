//! A request to a server behind one of ours, over plain HTTP.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::message::{Body, Framing, Headers, Request, read_answer, write_chunk};

/// A real registry on loopback answers at once; longer than this is a fault of the test itself.
const READ_LIMIT: Duration = Duration::from_secs(30);

/// An answer whose body has not been read yet.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Body<BufReader<TcpStream>>,
}

/// Sends a request on a connection of its own and reads the head of the answer.
pub(crate) fn ask(host: &str, request: &Request, body: &mut impl Read) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(READ_LIMIT))?;
    let mut headers = request.headers.clone();
    headers.set("Connection", "close");
    headers.remove("Expect");
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target).into_bytes();
    headers.write(&mut head);
    stream.write_all(&head)?;
    if request.framing() == Framing::Chunked {
        send_chunks(&mut stream, body)?;
    } else {
        io::copy(body, &mut stream)?;
    }
    let mut from = BufReader::new(stream);
    let (status, headers) = read_answer(&mut from)?;
    let without_body = request.method == "HEAD" || status == 204 || status == 304;
    let framing = if without_body {
        Framing::Length(0)
    } else {
        Framing::of(&headers).unwrap_or(Framing::UntilClose)
    };
    Ok(Answer { status, headers, body: Body::new(from, framing) })
}

fn send_chunks(to: &mut TcpStream, body: &mut impl Read) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = body.read(&mut buffer)?;
        write_chunk(to, &buffer[..count])?;
        if count == 0 {
            return Ok(());
        }
    }
}

/// Sends a request with a body from memory; gives the status, the header fields and the body.
///
/// # Errors
///
/// When the server cannot be reached or answers something other than HTTP.
pub fn exchange(
    host: &str,
    method: &str,
    target: &str,
    headers: &Headers,
    body: &[u8],
) -> io::Result<(u16, Headers, Vec<u8>)> {
    let mut headers = headers.clone();
    headers.set("Host", host);
    headers.set("Content-Length", &body.len().to_string());
    let request = Request { method: method.to_owned(), target: target.to_owned(), headers };
    let mut answer = ask(host, &request, &mut { body })?;
    let mut bytes = Vec::new();
    answer.body.read_to_end(&mut bytes)?;
    Ok((answer.status, answer.headers, bytes))
}
