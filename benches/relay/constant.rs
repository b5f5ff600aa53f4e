//! The server that does nothing: actix, as the relay uses it, answering every POST with the same bytes. What it does in a
//! second is the limit of any server in its place.
//!
//! A process of its own, started as `constant REPLY`, so that it has the server's core as the relay has it.

use std::{net::TcpListener, time::Duration};

use actix_web::{
    App, Handler, HttpResponse, HttpServer, Responder,
    http::header::ContentType,
    web::{self, Bytes, Data, PayloadConfig},
};

use crate::Outcome;

/// The first argument that makes this program that server.
pub(crate) const COMMAND: &str = "constant";

/// How long a connection is kept that is idle while others have their turn.
const IDLE: Duration = Duration::from_secs(3600);

/// Serves until it is killed; the first line on standard output is its address.
pub(crate) fn serve(reply: String) -> Outcome<()> {
    // The body is read to its end, as the relay does.
    listen(Bytes::from(reply), |_: Bytes, reply: Data<Bytes>| async move {
        HttpResponse::Ok().content_type(ContentType::json()).body(Bytes::clone(&reply))
    })
}

/// Answers every POST with what `answer` makes of its body and `data`.
pub(crate) fn listen<D, F>(data: D, answer: F) -> Outcome<()>
where
    D: Clone + Send + 'static,
    F: Handler<(Bytes, Data<D>), Output: Responder + 'static> + Clone + Send,
{
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    #[expect(clippy::print_stdout, reason = "as the relay says it")]
    {
        println!("http://{}", listener.local_addr()?);
    }
    let server = HttpServer::new(move || {
        App::new()
            .app_data(Data::new(data.clone()))
            .app_data(PayloadConfig::new(64 * 1024))
            .route("/", web::post().to(answer.clone()))
    });
    // One core, one thread, as the relay has it on one core.
    let server = server
        .workers(1)
        .max_connections(16_384)
        .keep_alive(IDLE)
        .client_request_timeout(IDLE)
        .listen(listener)?;
    Ok(actix_web::rt::System::new().block_on(server.run())?)
}
