//! Starting a job exactly once, with its input.

use crate::{
    api,
    client::{Client, required},
    error::Error,
    patience::{Calling, Patience, Repeat},
};
use bytes::BytesMut;
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
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
    /// Starts a job. A server that does not answer at first has the client's patience. When the answer is lost, the same request
    /// is repeated until `window` is over. The request id makes both safe: one request starts one job.
    ///
    /// # Errors
    /// [`Error::Answer`] when the server refuses, [`Error::Unreachable`] when nothing was sent, [`Error::StartUnknown`] when
    /// the answer stayed away. A command that could not be executed is not an error but a job in state `error`.
    pub async fn start(&self, request: &api::StartJobRequest, window: Duration) -> Result<Started, Error> {
        let (mut first, mut patience) = (Calling::new(&self.courtesy, Repeat::Harmless), Patience::new(window));
        let mut maybe_sent = false;
        loop {
            let error = match self.answer(self.service().start_job(request.clone())).await {
                Ok(answer) => return Ok(Started { job: required(answer.job)?, existed: answer.existed }),
                Err(error) => error,
            };
            maybe_sent |= matches!(error, Error::Lost(_));
            if !maybe_sent {
                first.pause(error).await?;
                continue;
            }
            if !error.is_passing() {
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
        let input = Arc::new(Mutex::new(Some(input)));
        let mut first = Calling::new(&self.courtesy, Repeat::Harmless);
        loop {
            let error = match self.upload_once(input.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if input.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
                // Some of it was read, and no second attempt could send that.
                return Err(error);
            }
            first.pause(error).await?;
        }
    }

    // Takes the input when there is a connection to send it on.
    async fn upload_once<R: AsyncRead + Send + Unpin + 'static>(
        &self,
        input: Arc<Mutex<Option<R>>>,
    ) -> Result<api::UploadInputResponse, Error> {
        let (failed, failure) = oneshot::channel();
        let state = Some((Source::Untouched(input), failed, true));
        let messages = futures_util::stream::unfold(state, |state| async move {
            let (source, failed, first) = state?;
            let Some(mut input) = source.open() else {
                // Gone to another attempt; ending here would pass for an empty input.
                return std::future::pending().await;
            };
            match fill(&mut input).await {
                // An empty input is still an input, so at least one message goes out.
                Ok(data) if data.is_empty() && !first => None,
                Ok(data) => {
                    let message = api::UploadInputRequest { data: data.freeze() };
                    Some((message, Some((Source::Open(input), failed, false))))
                }
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

// Input that nobody has read from yet can be sent by a later attempt.
enum Source<R> {
    Untouched(Arc<Mutex<Option<R>>>),
    Open(R),
}

impl<R> Source<R> {
    fn open(self) -> Option<R> {
        match self {
            Source::Untouched(input) => input.lock().unwrap_or_else(PoisonError::into_inner).take(),
            Source::Open(input) => Some(input),
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
