//! Starting a job exactly once, with its input.

use crate::{
    api,
    client::{Client, required},
    error::Error,
    follow::Patience,
};
use bytes::BytesMut;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::oneshot,
};

/// Bytes of one message of an upload; the interface allows 1 MiB.
const UPLOAD_CHUNK: usize = 256 << 10;

/// What a start brought.
#[derive(Clone, Debug)]
pub struct Started {
    /// The job as it stood when the server answered. It may already have ended, or never have started (state `error`).
    pub job: api::Job,
    /// The request id was known, and this call started nothing.
    pub existed: bool,
}

impl Client {
    /// Starts a job. When the answer is lost, the same request is repeated until `window` is over; the request id makes that safe.
    ///
    /// # Errors
    /// [`Error::Answer`] when the server refuses, [`Error::Unreachable`] when nothing was sent, [`Error::StartUnknown`] when
    /// the answer stayed away. A command that could not be executed is not an error but a job in state `error`.
    pub async fn start(&self, request: &api::StartJobRequest, window: Duration) -> Result<Started, Error> {
        let mut patience = Patience::new(window);
        let mut maybe_sent = false;
        loop {
            let error = match self.answer(self.service().start_job(request.clone())).await {
                Ok(answer) => return Ok(Started { job: required(answer.job)?, existed: answer.existed }),
                Err(error) => error,
            };
            maybe_sent |= matches!(error, Error::Lost(_));
            if !maybe_sent || !error.is_passing() {
                return Err(error);
            }
            if let Err(error) = patience.pause(error).await {
                return Err(Error::StartUnknown { request_id: request.request_id.clone(), cause: Box::new(error) });
            }
        }
    }

    /// Sends `input` to its end and answers its id, good for one [`Client::start`] within ten minutes.
    ///
    /// # Errors
    /// [`Error::Input`] when reading fails (the server then drops what it has), [`Error::Answer`] with RESOURCE_EXHAUSTED when
    /// the input is larger than the caller's profiles allow.
    pub async fn upload(
        &self,
        input: impl AsyncRead + Send + Unpin + 'static,
    ) -> Result<api::UploadInputResponse, Error> {
        let (failed, failure) = oneshot::channel();
        let messages = futures_util::stream::unfold(Some((input, failed, true)), |state| async move {
            let (mut input, failed, first) = state?;
            match fill(&mut input).await {
                // An empty input is still an input, so at least one message goes out.
                Ok(data) if data.is_empty() && !first => None,
                Ok(data) => Some((api::UploadInputRequest { data: data.freeze() }, Some((input, failed, false)))),
                Err(error) => {
                    // Ending the stream would pass a part off as the whole: report, and never end it.
                    let _ = failed.send(error);
                    std::future::pending().await
                }
            }
        });
        let mut service = self.service();
        tokio::select! {
            answer = self.answer(service.upload_input(messages)) => answer,
            Ok(error) = failure => Err(Error::Input(error)),
        }
    }
}

async fn fill(input: &mut (impl AsyncRead + Unpin)) -> io::Result<BytesMut> {
    let mut data = BytesMut::with_capacity(UPLOAD_CHUNK);
    while data.len() < UPLOAD_CHUNK {
        if input.read_buf(&mut data).await? == 0 {
            break;
        }
    }
    Ok(data)
}
