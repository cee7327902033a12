import os,sys,time
os.environ["TF_CPP_MIN_LOG_LEVEL"]="2"
import numpy as np
from lenet_keras.backend import keras, tf
from lenet_keras.data import load_data
from lenet_keras.recipe import Recipe
from lenet_keras.pipeline import training_batches, normalisation
layers=keras.layers
def resnet(W=(48,128,128),pol="mixed_bfloat16",act="relu",res=False):
    def conv(x,f,k=3,pad="same"): return layers.Conv2D(f,k,padding=pad,use_bias=False,dtype=pol,kernel_initializer="he_normal")(x)
    def ba(x): return layers.Activation(act,dtype=pol)(layers.BatchNormalization(dtype=pol,momentum=.9)(x))
    i=keras.Input((32,32,3)); x=ba(conv(i,24,2,"valid"))
    for f in W:
        x=conv(x,f); x=layers.MaxPooling2D(2,dtype=pol)(x); x=ba(x)
        y=ba(conv(x,f)); x=layers.Add(dtype=pol)([x,y]) if res else y
    x=layers.GlobalMaxPooling2D(dtype=pol)(x)
    x=layers.Rescaling(.125,dtype="float32")(x)
    return keras.Model(i,layers.Dense(10,dtype="float32")(x))
class LR(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(s,peak,total): s.peak,s.total=peak,total
    def __call__(s,step):
        p=keras.ops.cast(step,"float32")/s.total
        return s.peak*keras.ops.minimum(p/.2,(1-p)/.8)
    def get_config(s): return {}
if __name__=="__main__":
    seed,epochs,alpha,out=int(sys.argv[1]),int(sys.argv[2]),float(sys.argv[3]),sys.argv[4]
    W=eval(sys.argv[5]) if len(sys.argv)>5 else (48,128,128)
    lr=float(sys.argv[6]) if len(sys.argv)>6 else .4
    keras.utils.set_random_seed(seed)
    data=load_data("cifar10")
    aug=["flip","shift"]+(["mixup"] if alpha else [])
    r=Recipe(augmentation=aug,epochs=epochs,batch_size=512,shift_pixels=2,**({"mixup_alpha":alpha} if alpha else {}))
    b=training_batches(data,r,seed); norm=normalisation(data)
    m=resnet(W,res=True)
    opt=keras.optimizers.SGD(LR(lr,epochs*b.steps_per_epoch),momentum=.9,nesterov=True,weight_decay=5e-3)
    opt.exclude_from_weight_decay(var_names=["gamma","beta","bias"])
    m.compile(optimizer=opt,loss=keras.losses.CategoricalCrossentropy(from_logits=True),metrics=["accuracy"],jit_compile=False,steps_per_execution=29)
    def prep(x,y): return norm_tf(x),y
    norm_tf=normalisation(data,tf)
    V=norm_tf(tf.constant(data.validation.images)).numpy()
    def vacc(net):
        z=np.concatenate([net.predict_on_batch(V[i:i+500]) for i in range(0,5000,500)]); return (z.argmax(1)==data.validation.labels).mean()
    t0=time.time()
    class CB(keras.callbacks.Callback):
        def on_epoch_end(s,e,logs):
            print(e+1,round(time.time()-t0),{k:round(float(v),4) for k,v in logs.items()},"val",vacc(m),flush=True)
    o=tf.data.Options(); o.autotune.enabled=False
    m.fit(b.dataset.map(prep).prefetch(4).with_options(o),epochs=epochs,steps_per_epoch=b.steps_per_epoch,callbacks=[CB()],shuffle=False,verbose=0)
    m.save_weights(out); print("done",time.time()-t0)
