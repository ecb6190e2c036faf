//! The caller's own connection, as far as it comes by an attachment.

use super::{Control, Scope};
use crate::{error::Result, filter::Caller, lockout::Flow, order::Selector};

impl Control {
    /// The SSH connection that the caller sits at, if its packets meet the chain of an attachment.
    ///
    /// # Errors
    ///
    /// [`Error::NoAttachment`](crate::error::Error::NoAttachment),
    /// [`Error::ManyAttachments`](crate::error::Error::ManyAttachments).
    pub fn caller_at(&self, selector: &Selector, scope: &Scope) -> Result<Option<Caller>> {
        let (chain, _) = self.attachment(selector, scope, "find")?;
        let chain = &self.chains[chain];
        let flow = Flow::of_caller().filter(|flow| flow.meets(chain.hook, chain.target));
        Ok(flow.map(|flow| flow.caller()))
    }
}
