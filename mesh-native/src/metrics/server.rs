//! A port of its own for Prometheus: what a process does is nothing for all the world to read.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::prometheus_text;
use thiserror::Error;
use tokio::net::TcpListener;

use super::{Format, Metrics};
use crate::hub::door::{self, Door, Limits};

/// Connections at most: some Prometheus servers, and an operator who looks.
const CONNECTIONS_MAX: usize = 32;

/// What is here, for whoever asks for something else.
const ELSEWHERE: &str = "The metrics of this process are at /metrics, for Prometheus.\n";

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why metrics cannot be served.
#[derive(Debug, Error)]
#[error("cannot serve metrics at {address}; another address can be given with --metrics")]
pub struct MetricsError {
    address: SocketAddr,
    source: io::Error,
}

/// A server that has its port and does not serve yet.
#[derive(Debug)]
pub struct MetricsServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl MetricsServer {
    /// Takes the port; 0 takes any free one.
    ///
    /// # Errors
    /// [`MetricsError`] if the address cannot be had.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn bind(address: SocketAddr) -> Result<Self, MetricsError> {
        let bind = || {
            let listener = StdListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((TcpListener::from_std(listener)?, address))
        };
        let (listener, address) = bind().map_err(|source| MetricsError { address, source })?;
        Ok(Self { listener, address })
    }

    /// The address that it has.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is dropped.
    pub async fn serve(self, metrics: Metrics) {
        let router = Router::new()
            .route("/metrics", get(answer))
            .route("/", get(ELSEWHERE))
            .fallback((StatusCode::NOT_FOUND, ELSEWHERE))
            .with_state(metrics);
        let door = Door::new(Limits {
            all: CONNECTIONS_MAX,
            per_address: CONNECTIONS_MAX,
            unlimited: Vec::new(),
        });
        match door::accept(self.listener, door, router).await {}
    }
}

async fn answer(State(metrics): State<Metrics>, headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT);
    let accepted = accepted.and_then(|accepted| accepted.to_str().ok());
    let wants_open = accepted.is_some_and(|it| it.contains("application/openmetrics-text"));
    let (format, kind) = if wants_open {
        (Format::OpenMetrics, OPEN_METRICS)
    } else {
        (Format::Text, prometheus_text::CONTENT_TYPE)
    };
    let text = metrics.render(format).await;
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
