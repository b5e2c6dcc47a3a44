//! The listeners of one shard: those that it accepts on, and those that it cannot accept on yet.

use super::mail::{Described, Listen};
use super::state::State;
use super::worker;
use crate::proxy::{Entrance, ListenerInfo};
use crate::runtime::{Error, Stop, TcpListener};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// A listener that a coroutine accepts from.
pub struct Listening {
    pub listener: TcpListener,
    pub info: RefCell<Arc<ListenerInfo>>,
}

/// A listener that this shard cannot accept on yet. Unless another process had its socket before, that does not listen
/// either, so the kernel sends nobody to it.
#[derive(Debug)]
pub struct Refused {
    pub listen: Listen,
    pub error: Error,
}

impl State {
    /// Accepts on the listener, and says where that is.
    pub fn open(self: &Rc<Self>, listen: Listen) -> Result<(String, SocketAddr), Refused> {
        let Listen { id, name, address: wanted, proxies, socket } = listen;
        let listener = TcpListener::new(&self.shared.runtime, socket).map_err(|(error, socket)| {
            let (name, proxies) = (name.clone(), proxies.clone());
            Refused { listen: Listen { id, name, address: wanted, proxies, socket }, error }
        })?;
        let (entrance, address) = (Entrance::new(wanted, id), listener.address());
        self.listen(listener, ListenerInfo { id, entrance, name: name.clone(), address, proxies });
        Ok((name, address))
    }

    /// The same, now or as soon as it can be done.
    pub fn try_to_open(self: &Rc<Self>, listen: Listen) {
        if let Err(refused) = self.open(listen) {
            self.shared.counters.borrow_mut().listens_failed += 1;
            self.refused.borrow_mut().push(refused);
        }
    }

    pub fn try_again_to_open(self: &Rc<Self>) {
        self.refused.take().into_iter().for_each(|refused| self.try_to_open(refused.listen));
    }

    /// Which listeners there should be and are not, and why.
    pub fn tell_refused(&self, told: &mut Vec<(String, String)>) {
        told.clear();
        let refused = self.refused.borrow();
        told.extend(refused.iter().map(|refused| (refused.listen.name.clone(), refused.error.to_string())));
    }

    pub fn listen(self: &Rc<Self>, listener: TcpListener, info: ListenerInfo) {
        let listening = Rc::new(Listening { listener, info: RefCell::new(Arc::new(info)) });
        self.listeners.borrow_mut().push(listening.clone());
        self.tell_listeners();
        self.shared.runtime.spawn(worker::accept(self.clone(), listening));
    }

    pub fn describe(&self, all: &[Described]) {
        for listening in self.listeners.borrow().iter() {
            let (was, entrance) = (listening.info.borrow().id, listening.info.borrow().entrance);
            let Some(described) = all.iter().find(|described| described.was == was) else { continue };
            let Described { id, name, proxies, .. } = described.clone();
            let address = listening.listener.address();
            *listening.info.borrow_mut() = Arc::new(ListenerInfo { id, entrance, name, address, proxies });
        }
        for Refused { listen, .. } in self.refused.borrow_mut().iter_mut() {
            let Some(described) = all.iter().find(|described| described.was == listen.id) else { continue };
            let Described { id, name, proxies, .. } = described.clone();
            (listen.id, listen.name, listen.proxies) = (id, name, proxies);
        }
    }

    pub fn unlisten(&self, id: u32) {
        self.refused.borrow_mut().retain(|refused| refused.listen.id != id);
        for listening in self.listeners.borrow().iter() {
            let is_it = listening.info.borrow().id == id;
            if is_it {
                listening.listener.stop(Stop::Dry);
            }
        }
    }

    /// A listener has stopped.
    pub fn forget_listener(&self, listening: &Rc<Listening>) {
        self.listeners.borrow_mut().retain(|other| !Rc::ptr_eq(other, listening));
        self.tell_listeners();
    }

    fn tell_listeners(&self) {
        self.shared.board.set_listeners(self.shard, self.listeners.borrow().len());
    }

    /// No listener accepts any more, and none is to: what has arrived is another process's.
    pub fn rest(&self) {
        self.refused.borrow_mut().clear();
        self.listeners.borrow().iter().for_each(|listening| listening.listener.stop(Stop::Leave));
    }
}
