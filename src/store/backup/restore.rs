//! A store that is filled from a backup: first the whole file is verified, then a mark is set, what is there is taken away,
//! everything is written, and last the mark is taken away. A store with the mark is opened by nobody but another restore.

use std::collections::BTreeMap;
use std::io::Read;

use super::format::{Counts, FormatError, Piece, Reader};
use super::kinds::{Form, form, is_of_the_start, placed, word};
use crate::oauth::TokenLives;
use crate::seal::Sealer;
use crate::secret::{random, to_base64url};
use crate::store::StoreError;
use crate::store::backend::{Backend, Cursor, Load, Of};
use crate::store::schema::{self, RESTORING, SCHEMA};
use crate::time::Timestamp;

/// How many parts are written at once, and how many bytes, about.
const AT_ONCE: usize = 500;
const BYTES_AT_ONCE: usize = 1 << 20;

/// Why a backup is not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is no backup, or not whole.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Its records are of a newer version.
    #[error("its records have schema {found}, and this version knows {SCHEMA}; upgrade portcullis")]
    Schema {
        /// The backup's.
        found: u32,
    },
    /// Something that this version does not know.
    #[error("it holds records that this version does not know (it was made by {0}); upgrade portcullis")]
    Unknown(String),
    /// It was made under another key.
    #[error(
        "it was made under another secret_key; write the one of then as secret_key, or beside the new one as secret_key_previous"
    )]
    SecretKey,
    /// It was made while a change of the key was under way.
    #[error(
        "some of it is still sealed under the secret_key of before, for it was made while that was changed; \
         write that as secret_key_previous beside secret_key"
    )]
    PreviousKey,
    /// The store does not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a backup is restored by.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The present moment.
    pub now: Timestamp,
    /// How long grants live: so long are the logs of them kept.
    pub lives: TokenLives,
    /// What it must have been sealed under.
    pub sealer: &'a Sealer,
}

/// A backup that was read whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How much there is.
    pub counts: Counts,
    /// How many records and entries of each kind.
    pub kinds: BTreeMap<&'static str, u64>,
}

impl Summary {
    /// Reads a backup to its end. `told` is called now and then.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn of(reader: &mut Reader<impl Read>, mut told: impl FnMut(Counts)) -> Result<Self, FormatError> {
        let mut kinds = BTreeMap::new();
        while let Some(piece) = reader.piece()? {
            *kinds.entry(word(piece.name())).or_default() += 1;
            told(reader.counts());
        }
        Ok(Self { counts: reader.counts(), kinds })
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Written.
    pub counts: Counts,
    /// Passed over: it had ended.
    pub expired: u64,
}

/// Reads a backup to its end, and says whether it can be restored under this `secret_key`. `told` is called now and then.
///
/// # Errors
/// [`RestoreError`].
pub fn verify(
    mut reader: Reader<impl Read>,
    sealer: &Sealer,
    mut told: impl FnMut(Counts),
) -> Result<Summary, RestoreError> {
    let about = reader.about().clone();
    let mut summary = Summary::default();
    let ours = reader.prove(sealer);
    let (mut unknown, mut resealing) = (false, false);
    while let Some(piece) = reader.piece()? {
        let name = piece.name();
        unknown |= to_load(&piece, &TokenLives::default()).is_none();
        resealing |= name == schema::resealing().as_str();
        *summary.kinds.entry(word(name)).or_default() += 1;
        told(reader.counts());
    }
    summary.counts = reader.counts();
    if about.schema > SCHEMA {
        Err(RestoreError::Schema { found: about.schema })
    } else if unknown {
        Err(RestoreError::Unknown(about.made_by))
    } else if !ours {
        Err(RestoreError::SecretKey)
    } else if resealing && sealer.previous().is_none() {
        Err(RestoreError::PreviousKey)
    } else {
        Ok(summary)
    }
}

/// Whether nothing would be lost: nobody has signed in or registered there, and no certificate came; or what is there is the half of
/// a restore that was broken off.
///
/// # Errors
/// [`StoreError`].
pub async fn is_unused(backend: &dyn Backend) -> Result<bool, StoreError> {
    if backend.get(&schema::restoring()).await?.is_some() {
        return Ok(true);
    }
    let snapshot = backend.snapshot().await?;
    for of in [Of::Records, Of::Logs] {
        let mut cursor: Option<Cursor> = None;
        loop {
            let page = snapshot.names(of, cursor).await?;
            if page.names.iter().any(|name| placed(name).is_some() && !is_of_the_start(name)) {
                return Ok(false);
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
    }
    Ok(true)
}

/// Fills a store from a backup that was [`verify`]ed: in place of whatever is there. Its seal counts once more, for the file may
/// have been changed since. When this fails or is broken off, nobody can
/// open the store until another restore has ended.
///
/// # Errors
/// [`RestoreError`].
pub async fn fill(
    backend: &dyn Backend,
    mut reader: Reader<impl Read>,
    terms: &Terms<'_>,
    mut told: impl FnMut(Counts),
) -> Result<Restored, RestoreError> {
    if !reader.prove(terms.sealer) {
        return Err(RestoreError::SecretKey);
    }
    let mark = Load::Record { name: schema::restoring(), bytes: schema::unsealed(&RESTORING), ends: None };
    backend.load(vec![mark]).await?;
    empty(backend).await?;
    let mut restored = Restored::default();
    let (mut batch, mut size) = (Vec::new(), 0);
    while let Some(piece) = reader.piece()? {
        if has_ended(&piece, terms) {
            restored.expired += 1;
            continue;
        }
        restored.counts.add(&piece);
        size += bytes_of(&piece);
        batch.extend(to_load(&piece, &terms.lives));
        if batch.len() >= AT_ONCE || size >= BYTES_AT_ONCE {
            size = 0;
            backend.load(std::mem::take(&mut batch)).await?;
            told(restored.counts);
        }
    }
    backend.load(batch).await?;
    let mark = schema::unsealed(&to_base64url(&random::<16>()));
    let done = Load::Record { name: schema::restored(), bytes: mark, ends: None };
    backend.load(vec![done, Load::Gone(schema::restoring())]).await?;
    Ok(restored)
}

/// Away with everything of ours but the mark.
async fn empty(backend: &dyn Backend) -> Result<(), StoreError> {
    let snapshot = backend.snapshot().await?;
    for of in [Of::Records, Of::Logs] {
        let mut cursor: Option<Cursor> = None;
        loop {
            let page = snapshot.names(of, cursor).await?;
            let names = page.names.iter().filter_map(|name| placed(name));
            let gone: Vec<_> = names.filter(|name| *name != schema::restoring()).map(Load::Gone).collect();
            for gone in gone.chunks(AT_ONCE) {
                backend.load(gone.to_vec()).await?;
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// How a piece is written; `None` if this version knows nothing of the kind, or does not keep it.
fn to_load(piece: &Piece, lives: &TokenLives) -> Option<Load> {
    let name = placed(piece.name())?;
    match (form(piece.name())?, piece.clone()) {
        (Form::Grant | Form::Record | Form::Mark, Piece::Record { bytes, ends, .. }) => {
            Some(Load::Record { name, bytes, ends })
        }
        (Form::Number, Piece::Number { number, .. }) => Some(Load::Number { name, number }),
        (Form::Log(keep), Piece::Entry { score, entry, .. }) => {
            Some(Load::Entry { log: name, score, entry, keep: keep.duration(lives) })
        }
        (Form::Grant | Form::Record | Form::Mark | Form::Number | Form::Log(_) | Form::Not, _) => None,
    }
}

fn has_ended(piece: &Piece, terms: &Terms<'_>) -> bool {
    match piece {
        Piece::Record { ends, .. } => ends.is_some_and(|ends| ends <= terms.now),
        Piece::Number { .. } => false,
        Piece::Entry { log, score, .. } => {
            let keep = match form(log) {
                Some(Form::Log(keep)) => keep.duration(&terms.lives),
                Some(Form::Grant | Form::Record | Form::Number | Form::Mark | Form::Not) | None => None,
            };
            keep.is_some_and(|keep| Timestamp::from_seconds(score / 1000).after(keep) <= terms.now)
        }
    }
}

const fn bytes_of(piece: &Piece) -> usize {
    match piece {
        Piece::Record { bytes, .. } => bytes.len(),
        Piece::Number { .. } => 8,
        Piece::Entry { entry, .. } => entry.len(),
    }
}
