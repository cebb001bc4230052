//! `rbd`: images of a Ceph cluster (RADOS block device), by librbd, which is loaded when the first image is opened.
//!
//! | module | contents |
//! | --- | --- |
//! | `name` | names of images, options |
//! | `functions` | the functions of the libraries |
//! | `cluster` | connections to clusters |
//! | `image` | an open image and the calls on it |
//! | `store` | the store over an image |
//!
//! Another client that shrinks an image below the size of its unit loses what is written behind the new end until the
//! unit has the new size, because librbd reports success for such writes.

mod cluster;
mod functions;
mod image;
mod name;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use scsi_core::store::Backstore;

use self::cluster::Cluster;
use self::functions::Functions;
use self::name::{ImageName, Settings};
use self::store::Rbd;
use crate::library::{Shared, WaitError, wait_for};
use crate::registry::{Kind, OpenError, OpenOptions, PathUse};

/// The kind `rbd`.
#[must_use]
pub fn kind() -> Kind {
    kind_with(Functions::load)
}

fn kind_with(load: impl Fn() -> Result<&'static Functions, String> + Send + Sync + 'static) -> Kind {
    let clusters = Arc::new(Shared::default());
    Kind {
        name: name::NAME,
        summary: "an image of a Ceph cluster (RADOS block device), by librbd",
        sync: true,
        direct: true,
        path: PathUse::Name,
        options: name::OPTIONS,
        open: Arc::new(move |options| open(&clusters, &load, options)),
    }
}

fn open(
    clusters: &Arc<Shared<Settings, Cluster>>,
    load: &impl Fn() -> Result<&'static Functions, String>,
    options: &OpenOptions,
) -> Result<Arc<dyn Backstore>, OpenError> {
    let refused = |why: String| OpenError::refused(&options.path, why);
    let (name, settings) = (ImageName::parse(options)?, Settings::parse(options)?);
    let deadline = name::open_timeout(options)?;
    let functions = load().map_err(|why| refused(format!("librbd is not available: {why}")))?;
    let (clusters, options) = (clusters.clone(), options.clone());
    let opened = wait_for(deadline, move || {
        let cluster =
            clusters.get(&settings, Cluster::is_usable, || Cluster::connect(functions, &settings))?;
        Rbd::open(cluster, functions, &name, &options)
    });
    match opened {
        Ok(Ok(store)) => Ok(Arc::new(store)),
        Ok(Err(why)) => Err(refused(why)),
        Err(WaitError::Deadline) => {
            Err(refused(format!("the cluster did not answer within {} seconds", deadline.as_secs())))
        }
        Err(other) => Err(refused(other.to_string())),
    }
}
